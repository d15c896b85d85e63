/* args_help.c - the help, made from the option tables; and the nearest word to a mistyped one. */
#include "core/front/args_internal.h"

#include <stdio.h>
#include <string.h>

#define HELP_COLUMNS 79u
#define HELP_INDENT 28u
#define NEAREST_MAX_LENGTH 48u

/* Appends words, broken before HELP_COLUMNS; column is where the first one stands, later lines
 * begin at indent. */
static void
help_wrap(struct text *text, const char *words, size_t column, size_t indent)
{
    bool first = true;
    while (*words) {
        const size_t length = strcspn(words, " \n");
        if (!first && column + 1 + length > HELP_COLUMNS) {
            text_printf(text, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            text_add(text, " ");
            column++;
        }
        text_append(text, words, length);
        column += length;
        first = false;
        words += length;
        if (*words == '\n') {
            text_printf(text, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        words += *words != '\0';
    }
    text_add(text, "\n");
}

static void
help_option(struct text *text, const struct args_option *option)
{
    char left[64], help[400];
    const int used =
        snprintf(left, sizeof left, "  %c%c%s--%s%s%s", option->letter ? '-' : ' ',
                 option->letter ? option->letter : ' ', option->letter ? ", " : "  ", option->name,
                 option->value ? " " : "", option->value ? option->value : "");
    const size_t width = used > 0 ? (size_t)used : 0;
    const bool shown = option->fallback && option->kind != ARGS_CONFIG_FLAG;
    snprintf(help, sizeof help, "%s%s%s%s", option->help, shown ? " [" : "",
             shown ? option->fallback : "", shown ? "]" : "");
    if (width + 2 > HELP_INDENT) {
        text_printf(text, "%s\n%*s", left, (int)HELP_INDENT, "");
    } else {
        text_printf(text, "%-*s", (int)HELP_INDENT, left);
    }
    help_wrap(text, help, HELP_INDENT, HELP_INDENT);
}

static void
help_globals(const struct command *command, struct text *text)
{
    text_add(text, "\nGlobal options, before or after the command:\n");
    for (size_t i = 0; i < n_args_global_options; i++) {
        if (!args_is_hidden(command, &args_global_options[i])) {
            help_option(text, &args_global_options[i]);
        }
    }
}

static void
help_commands(const char *group, struct text *text)
{
    for (size_t i = 0; i < n_commands; i++) {
        if (!group || args_in_group(commands[i], group)) {
            text_printf(text, "  %-14s  ", commands[i]->name);
            help_wrap(text, commands[i]->summary, 18, 18);
        }
    }
}

void
args_help(const struct command *command, const char *group, struct text *text)
{
    if (!command) {
        text_printf(text, "Usage: hearth %s%sCOMMAND [OPTION]...\n\n", group ? group : "",
                    group ? " " : "");
        if (!group) {
            text_add(text, "Runs DeepSeek-V4 models on whatever this machine has.\n\n");
        }
        text_add(text, "Commands (hearth COMMAND --help tells more):\n");
        help_commands(group, text);
        help_globals(NULL, text);
        return;
    }
    text_printf(text, "Usage: hearth %s [OPTION]...%s%s\n\n", command->name,
                command->operands ? " " : "", command->operands ? command->operands : "");
    help_wrap(text, command->summary, 0, 0);
    if (command->notes) {
        text_add(text, "\n");
        help_wrap(text, command->notes, 0, 0);
    }
    if (command->n_options) {
        text_printf(text, "\nOptions:\n");
    }
    for (size_t i = 0; i < command->n_options; i++) {
        help_option(text, &command->options[i]);
    }
    help_globals(command, text);
}

static size_t
min3(size_t a, size_t b, size_t c)
{
    const size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Levenshtein distance; both at most NEAREST_MAX_LENGTH long. */
static size_t
edit_distance(const char *a, const char *b)
{
    size_t row[NEAREST_MAX_LENGTH + 1];
    const size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            const size_t above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[n];
}

const char *
nearest_word(const char *word, size_t n, const char *const *words)
{
    const char *nearest = NULL;
    size_t least = strlen(word) / 3 + 2; /* more edits than a third of the word is another word */
    for (size_t i = 0; i < n; i++) {
        if (strlen(word) > NEAREST_MAX_LENGTH || strlen(words[i]) > NEAREST_MAX_LENGTH) {
            continue;
        }
        const size_t distance = edit_distance(word, words[i]);
        if (distance < least) {
            least = distance;
            nearest = words[i];
        }
    }
    return nearest;
}
