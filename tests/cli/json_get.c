/* json_get.c - checks that standard input is exactly one JSON value, and prints the members asked
 * for: PATH is names and list indices joined by slashes ("contexts/0/accuracy"); "#" at its end is
 * the number of members.  Exit 1 if it is no JSON or a member is missing.  The tests' own reader,
 * so that they lean on no tool that a machine may lack. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INPUT (64u << 20)

static struct json_object *
read_value(void)
{
    char *bytes = malloc(MAX_INPUT);
    struct json_tokener *tokener = json_tokener_new();
    if (!bytes || !tokener) {
        return NULL;
    }
    const size_t length = fread(bytes, 1, MAX_INPUT - 1, stdin);
    bytes[length] = '\0';
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *value = json_tokener_parse_ex(tokener, bytes, (int)length + 1);
    const char *rest = bytes + json_tokener_get_parse_end(tokener);
    if (json_tokener_get_error(tokener) != json_tokener_success
        || rest[strspn(rest, " \n\r\t")] != '\0') {
        fprintf(stderr, "json_get: %s\n", json_tokener_error_desc(json_tokener_get_error(tokener)));
        exit(1);
    }
    json_tokener_free(tokener);
    free(bytes);
    return value;
}

/* One step down; exits when there is nothing. */
static struct json_object *
member(struct json_object *value, const char *name)
{
    struct json_object *found = NULL;
    if (json_object_is_type(value, json_type_array)) {
        found = json_object_array_get_idx(value, strtoul(name, NULL, 10));
    } else if (!json_object_is_type(value, json_type_object)
               || !json_object_object_get_ex(value, name, &found)) {
        found = NULL;
    }
    if (!found) {
        fprintf(stderr, "json_get: no %s\n", name);
        exit(1);
    }
    return found;
}

static void
print_member(struct json_object *value, char *path)
{
    for (char *name = strtok(path, "/"); name; name = strtok(NULL, "/")) {
        if (strcmp(name, "#") == 0) {
            printf("%zu\n", json_object_is_type(value, json_type_array)
                                ? json_object_array_length(value)
                                : (size_t)json_object_object_length(value));
            return;
        }
        value = member(value, name);
    }
    puts(json_object_get_string(value));
}

int
main(int argc, char **argv)
{
    struct json_object *value = read_value();
    for (int i = 1; i < argc; i++) {
        print_member(value, argv[i]);
    }
    json_object_put(value);
    return 0;
}
