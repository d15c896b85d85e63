/* core/front/args_internal.h - shared by args.c (parsing) and args_help.c (help). */
#ifndef CORE_FRONT_ARGS_INTERNAL_H
#define CORE_FRONT_ARGS_INTERNAL_H

#include "core/front/args.h"

#define ARGS_MAX_OPTIONS 48u
#define ARGS_MAX_COMMANDS 24u

extern const struct args_option args_global_options[];
extern const size_t n_args_global_options;

/* An option of the command takes the global one's name or letter. */
bool args_is_hidden(const struct command *command, const struct args_option *global);
bool args_in_group(const struct command *command, const char *group);

#endif
