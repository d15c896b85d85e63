/* core/front/report.h - printing what the engine's reporting calls return, as JSON or as text. */
#ifndef CORE_FRONT_REPORT_H
#define CORE_FRONT_REPORT_H

#include "core/front/front.h"
#include "core/front/out.h"

/* Parses and frees json, the text that came from `name`.  Errors: EINTERNAL (no JSON), EMEMORY. */
int report_parse(const char *name, char *json, struct json_object **ret_report,
                 struct hearth_error *err);
/* Prints report and releases it.  hidden: as in render_report; they are left out of the JSON too.
 */
int report_print(struct front *front, struct json_object *report, const char *const *hidden,
                 struct hearth_error *err);

#endif
