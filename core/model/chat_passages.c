/* chat_passages.c - the fixed English texts of the chat format, from the files a checkpoint brings.
 *
 * Takes: constants of chat_python.c, or a JSON file of passages.  Gives: struct chat_passages to chat_encode.c.
 * A constant of the official file is known by its SHA-256 (specification, section 11).  One with another digest is
 * taken by the name it is assigned to, and that is said in the log: a later revision is more useful than none. */
#include "config.h"

#include "core/model/chat_internal.h"

#include <dirent.h>
#include <errno.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/text.h"

#define PASSAGES_MAX_FILE_BYTES (1024 * 1024)

/* How a passage is recognised and where it is filled in. */
struct passage_form {
    const char *sha256;      /* of the text; of the tools section, rendered with no schemas */
    const char *python_name; /* official file: the name assigned to */
    const char *python_key;  /* and the key, where a dict is assigned */
    const char *python_slot;
    const char *json_name; /* our JSON file */
    const char *json_slot; /* NULL: nothing is filled in */
    const char *said;
};

static const struct passage_form forms[CHAT_N_PASSAGES] = {
    [CHAT_PASSAGE_TOOLS] = {"c7d3159308f7d076bee8974ece110fda1f92f6e577306e602ba2b466b4dcd904", "TOOLS_TEMPLATE", NULL,
                            "{tool_schemas}", "tools_section", "{tools}", "tools section"},
    [CHAT_PASSAGE_FORMAT] = {"012f31fcc1338bdfe25b132eaf56ab020ee75ab8e649f37b30b8e5f544fb17a5",
                             "response_format_template", NULL, "{schema}", "response_format", "{schema}",
                             "response format text"},
    [CHAT_PASSAGE_EFFORT] = {"f7a24f3b3050d4a83781e9b755b316aae2ec1d9dc87562541d90bcb04d7350f7",
                             "REASONING_EFFORT_PROMPTS", "high", NULL, "effort_prefix", NULL, "effort prefix"},
    [CHAT_PASSAGE_EFFORT_MAX] = {"53fb31b8392ec5b4a926481943efc67636748f137c1a49d493a7af4d4fa55d2c",
                                 "REASONING_EFFORT_PROMPTS", "max", NULL, "effort_prefix_max", NULL,
                                 "prefix of maximum effort"},
};

struct loader {
    struct chat_passages *passages;
    bool unknown[CHAT_N_PASSAGES]; /* taken by its name, not by its digest */
};

static void
passage_done(struct chat_passage *passage)
{
    free(passage->before);
    free(passage->after);
    *passage = (struct chat_passage){0};
}

/* Takes the two texts over, also when it fails. */
static int
passage_set(struct loader *loader, enum chat_passage_kind kind, struct text *before, struct text *after,
            struct hearth_error *err)
{
    struct chat_passage passage = {text_take(before), text_take(after)};
    if (!passage.before || !passage.after) {
        passage_done(&passage);
        return error_no_memory(err, "the passages of the chat format");
    }
    passage_done(&loader->passages->at[kind]);
    loader->passages->at[kind] = passage;
    return HEARTH_OK;
}

static bool
digest_is(const char *bytes, size_t length, const char *wanted)
{
    char found[SHA256_DIGEST_STRING_LENGTH];
    return SHA256Data((const uint8_t *)bytes, length, found) && strcmp(found, wanted) == 0;
}

/* ---- the official Python file ---------------------------------------------------------------- */

struct replacement {
    const char *name, *text;
};

/* What str.format makes of a template whose one open place is slot.  False if another place is open, or none. */
static bool
template_split(struct chat_text value, const char *slot, struct text *before, struct text *after)
{
    static const struct replacement known[] = {{"{{", "{"},
                                               {"}}", "}"},
                                               {"{dsml_token}", CHAT_DSML},
                                               {"{thinking_start_token}", CHAT_THINK},
                                               {"{thinking_end_token}", CHAT_THINK_END}};
    struct text *out = before;
    for (size_t at = 0; at < value.length;) {
        const char *rest = value.bytes + at;
        const size_t left = value.length - at;
        if (*rest != '{' && *rest != '}') {
            text_append(out, rest, 1);
            at++;
            continue;
        }
        if (out == before && left >= strlen(slot) && memcmp(rest, slot, strlen(slot)) == 0) {
            out = after;
            at += strlen(slot);
            continue;
        }
        size_t i = 0;
        while (i < sizeof known / sizeof known[0] &&
               (left < strlen(known[i].name) || memcmp(rest, known[i].name, strlen(known[i].name)) != 0)) {
            i++;
        }
        if (i == sizeof known / sizeof known[0]) {
            return false;
        }
        text_add(out, known[i].text);
        at += strlen(known[i].name);
    }
    return out == after;
}

/* The two sides of the constant as this kind of passage, and whether its digest is the known one; false if it cannot be
 * one. */
static bool
constant_split(const struct chat_constant *constant, enum chat_passage_kind kind, struct text *before,
               struct text *after, bool *ret_known)
{
    const struct passage_form *form = &forms[kind];
    const struct chat_text value = constant->value;
    if (!form->python_slot) {
        text_append(before, value.bytes, value.length);
        *ret_known = digest_is(value.bytes, value.length, form->sha256);
        return true;
    }
    if (!template_split(value, form->python_slot, before, after)) {
        return false;
    }
    struct text whole = {0};
    text_append(&whole, before->bytes ? before->bytes : "", before->length);
    text_add(&whole, kind == CHAT_PASSAGE_FORMAT ? form->python_slot : "");
    text_append(&whole, after->bytes ? after->bytes : "", after->length);
    before->failed |= whole.failed; /* for the caller to see */
    *ret_known = !whole.failed && digest_is(whole.bytes, whole.length, form->sha256);
    text_free(&whole);
    return true;
}

static bool
constant_is_named(const struct chat_constant *constant, enum chat_passage_kind kind)
{
    const struct passage_form *form = &forms[kind];
    if (kind == CHAT_PASSAGE_EFFORT && chat_text_is(constant->target, "REASONING_EFFORT_MAX")) {
        return true; /* the April release has no dict of efforts, only this one text */
    }
    return chat_text_is(constant->target, form->python_name) &&
           chat_text_is(constant->key, form->python_key ? form->python_key : "");
}

static int
loader_constant(void *context, const struct chat_constant *constant, struct hearth_error *err)
{
    struct loader *loader = context;
    if (constant->value.length == 0 || memchr(constant->value.bytes, '\0', constant->value.length)) {
        return HEARTH_OK;
    }
    for (enum chat_passage_kind kind = 0; kind < CHAT_N_PASSAGES; kind++) {
        struct text before = {0}, after = {0};
        bool known = false;
        const bool fits = constant_split(constant, kind, &before, &after, &known);
        const bool present = loader->passages->at[kind].before != NULL;
        const bool wanted = known ? !present || loader->unknown[kind] : !present && constant_is_named(constant, kind);
        int status = HEARTH_OK;
        if (before.failed || after.failed) {
            status = error_no_memory(err, "the passages of the chat format");
        } else if (fits && wanted) {
            status = passage_set(loader, kind, &before, &after, err);
            loader->unknown[kind] = !known;
        }
        text_free(&before);
        text_free(&after);
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

static int
file_read(const char *path, struct text *out, struct hearth_error *err)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        return error_set_errno(err, HEARTH_EIO, "%s", path);
    }
    char piece[16384];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, file)) > 0 && out->length <= PASSAGES_MAX_FILE_BYTES) {
        text_append(out, piece, n);
    }
    int status = HEARTH_OK;
    if (ferror(file)) {
        status = error_set_errno(err, HEARTH_EIO, "%s", path);
    } else if (out->length > PASSAGES_MAX_FILE_BYTES) {
        status = error_set(err, HEARTH_EFORMAT, "%s: a file of at most %d bytes wanted, a larger one found", path,
                           PASSAGES_MAX_FILE_BYTES);
    } else if (out->failed) {
        status = error_no_memory(err, path);
    }
    fclose(file);
    return status;
}

static int
loader_python(struct loader *loader, const char *path, struct hearth_error *err)
{
    struct text source = {0};
    struct hearth_error problem = {0};
    const struct chat_constant_sink sink = {loader_constant, loader};
    int status = file_read(path, &source, err);
    if (status == HEARTH_OK) {
        status = chat_python_scan(path, (struct chat_text){source.bytes, source.length}, &sink, &problem);
        if (status == HEARTH_EFORMAT) {
            log_line(HEARTH_LOG_WARNING, "%s; the chat passages behind it are unread", problem.text);
            status = HEARTH_OK;
        } else if (status < 0 && err) {
            *err = problem;
        }
    }
    text_free(&source);
    for (enum chat_passage_kind kind = 0; kind < CHAT_N_PASSAGES && status == HEARTH_OK; kind++) {
        if (loader->unknown[kind]) {
            log_line(HEARTH_LOG_WARNING, "%s: the %s is none that this release knows by its digest; used as it stands",
                     path, forms[kind].said);
            loader->unknown[kind] = false;
        }
    }
    return status;
}

/* ---- our JSON file --------------------------------------------------------------------------- */

static int
loader_json_passage(struct loader *loader, const char *path, struct json_object *object, enum chat_passage_kind kind,
                    struct hearth_error *err)
{
    const struct passage_form *form = &forms[kind];
    struct text before = {0}, after = {0};
    const char *value;
    if (loader->passages->at[kind].before || !json_object_object_get_ex(object, form->json_name, NULL)) {
        return HEARTH_OK;
    }
    int status = json_get_string(path, object, form->json_name, &value, err);
    if (status < 0) {
        return status;
    }
    const char *slot = form->json_slot ? strstr(value, form->json_slot) : value + strlen(value);
    if (!slot) {
        return error_set(err, HEARTH_EFORMAT, "%s: field %s: a text with the place %s wanted, none found", path,
                         form->json_name, form->json_slot);
    }
    text_append(&before, value, (size_t)(slot - value));
    text_add(&after, slot + (form->json_slot ? strlen(form->json_slot) : 0));
    return passage_set(loader, kind, &before, &after, err);
}

static int
loader_json(struct loader *loader, const char *path, struct hearth_error *err)
{
    struct json_object *object;
    int status = json_parse_file(path, PASSAGES_MAX_FILE_BYTES, &object, err);
    if (status < 0) {
        return status;
    }
    const bool is_object = json_object_is_type(object, json_type_object);
    for (enum chat_passage_kind kind = 0; kind < CHAT_N_PASSAGES && is_object && status == HEARTH_OK; kind++) {
        status = loader_json_passage(loader, path, object, kind, err);
    }
    json_object_put(object);
    return status;
}

/* ---- folders --------------------------------------------------------------------------------- */

static bool
has_ending(const char *name, const char *ending)
{
    const size_t n = strlen(name), m = strlen(ending);
    return n > m && strcmp(name + n - m, ending) == 0;
}

static int
is_python_file(const struct dirent *entry)
{
    return strncmp(entry->d_name, "encoding", 8) == 0 && has_ending(entry->d_name, ".py");
}

static int
is_json_file(const struct dirent *entry)
{
    return has_ending(entry->d_name, ".json");
}

static int
entry_compare(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* alphasort follows the locale */
}

/* Every file of the folder that wanted() picks, by name. */
static int
loader_folder(struct loader *loader, const char *folder, int (*wanted)(const struct dirent *),
              int (*read)(struct loader *, const char *, struct hearth_error *), struct hearth_error *err)
{
    struct dirent **entries = NULL;
    const int n = scandir(folder, &entries, wanted, entry_compare);
    if (n < 0) {
        if (errno == ENOENT || errno == ENOTDIR) {
            return HEARTH_OK;
        }
        return errno == ENOMEM ? error_no_memory(err, folder) : error_set_errno(err, HEARTH_EIO, "%s", folder);
    }
    int status = HEARTH_OK;
    for (int i = 0; i < n; i++) {
        struct text path = {0};
        text_printf(&path, "%s/%s", folder, entries[i]->d_name);
        if (status == HEARTH_OK) {
            status = path.failed ? error_no_memory(err, folder) : read(loader, path.bytes, err);
        }
        text_free(&path);
        free(entries[i]);
    }
    free(entries);
    return status;
}

int
chat_passages_load(const char *model_path, struct chat_passages **ret_passages, struct hearth_error *err)
{
    static const char *const folders[] = {"encoding", "inference/encoding", "."};
    struct loader loader = {.passages = calloc(1, sizeof *loader.passages)};
    if (!loader.passages) {
        return error_no_memory(err, "the passages of the chat format");
    }
    int status = HEARTH_OK;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0] && status == HEARTH_OK; i++) {
        struct text folder = {0};
        text_printf(&folder, "%s/%s", model_path, folders[i]);
        status = folder.failed ? error_no_memory(err, "a path")
                               : loader_folder(&loader, folder.bytes, is_python_file, loader_python, err);
        /* the model folder itself holds JSON files of other kinds */
        if (status == HEARTH_OK && strcmp(folders[i], ".") != 0) {
            status = loader_folder(&loader, folder.bytes, is_json_file, loader_json, err);
        }
        text_free(&folder);
    }
    if (status < 0) {
        chat_passages_free(loader.passages);
        return status;
    }
    *ret_passages = loader.passages;
    return HEARTH_OK;
}

void
chat_passages_free(struct chat_passages *passages)
{
    if (!passages) {
        return;
    }
    for (enum chat_passage_kind kind = 0; kind < CHAT_N_PASSAGES; kind++) {
        passage_done(&passages->at[kind]);
    }
    free(passages);
}
