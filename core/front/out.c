/* out.c - see out.h. */
#include <config.h>

#include "core/front/out.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/error.h"

int
out_write(const char *bytes, size_t length, struct hearth_error *err)
{
    if (fwrite(bytes, 1, length, stdout) != length) {
        return error_set_errno(err, HEARTH_EIO, "standard output");
    }
    return HEARTH_OK;
}

int
out_flush(struct hearth_error *err)
{
    if (fflush(stdout) != 0) {
        return error_set_errno(err, HEARTH_EIO, "standard output");
    }
    return HEARTH_OK;
}

int
out_text(struct text *text, struct hearth_error *err)
{
    int status = HEARTH_OK;
    if (text->failed) {
        status = error_no_memory(err, "the output");
    } else if (text->length) {
        status = out_write(text->bytes, text->length, err);
    }
    text_free(text);
    return status < 0 ? status : out_flush(err);
}

int
out_json(struct json_object *object, struct hearth_error *err)
{
    size_t length = 0;
    const int flags =
        JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE;
    const char *bytes = object ? json_object_to_json_string_length(object, flags, &length) : NULL;
    int status = bytes ? out_write(bytes, length, err) : error_no_memory(err, "the JSON output");
    json_object_put(object);
    if (status < 0) {
        return status;
    }
    status = out_write("\n", 1, err);
    return status < 0 ? status : out_flush(err);
}

static int
file_read_stream(FILE *file, const char *path, uint64_t max_bytes, struct text *text,
                 struct hearth_error *err)
{
    char chunk[65536];
    uint64_t total = 0;
    for (;;) {
        const size_t n = fread(chunk, 1, sizeof chunk, file);
        if (n == 0) {
            break;
        }
        total += n;
        if (total > max_bytes) {
            return error_set(err, HEARTH_EFORMAT,
                             "%s: at most %" PRIu64 " bytes wanted, more found", path, max_bytes);
        }
        text_append(text, chunk, n);
    }
    if (ferror(file)) {
        return error_set_errno(err, errno == EINTR ? HEARTH_EINTERRUPTED : HEARTH_EIO, "%s", path);
    }
    text_append(text, "", 0);
    return text->failed ? error_no_memory(err, path) : HEARTH_OK;
}

int
file_read(const char *path, uint64_t max_bytes, struct text *text, struct hearth_error *err)
{
    if (strcmp(path, "-") == 0) {
        return file_read_stream(stdin, "standard input", max_bytes, text, err);
    }
    FILE *file = fopen(path, "rb");
    if (!file) {
        return error_set_errno(err, HEARTH_EIO, "%s", path);
    }
    const int status = file_read_stream(file, path, max_bytes, text, err);
    fclose(file);
    return status;
}

int
file_write(const char *path, const char *bytes, size_t length, struct hearth_error *err)
{
    struct text name = {0};
    text_printf(&name, "%s.%ld.tmp", path, (long)getpid());
    if (name.failed) {
        text_free(&name);
        return error_no_memory(err, path);
    }
    int status = HEARTH_OK;
    FILE *file = fopen(name.bytes, "wb");
    if (!file) {
        status = error_set_errno(err, HEARTH_EIO, "%s", name.bytes);
        goto fail_open;
    }
    const bool written =
        fwrite(bytes, 1, length, file) == length && fflush(file) == 0 && fsync(fileno(file)) == 0;
    if (!written) {
        status = error_set_errno(err, HEARTH_EIO, "%s", path);
    }
    if (fclose(file) != 0 && written) {
        status = error_set_errno(err, HEARTH_EIO, "%s", path);
    }
    if (status == HEARTH_OK && rename(name.bytes, path) != 0) {
        status = error_set_errno(err, HEARTH_EIO, "%s", path);
    }
    if (status < 0) {
        unlink(name.bytes);
    }
fail_open:
    text_free(&name);
    return status;
}
