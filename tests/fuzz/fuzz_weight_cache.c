/* fuzz_weight_cache.c - files of packed weights: any bytes are refused with one line, but those of the file that is
 * wanted, and of these the weights may be anything. */
#include <config.h>

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/weights/cache.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const struct cache_content content = {.size_bytes = CACHE_HEAD_BYTES + CACHE_ALIGN,
                                             .n_weights = 1,
                                             .layout = "fuzz-1",
                                             .key = "0123456789abcdef0123456789abcdef"};

/* What must stand in the head, written down here once more. */
static int
is_wanted(const uint8_t *bytes, size_t length)
{
    static const uint8_t numbers[24] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 1};
    static const uint8_t layout[64] = "fuzz-1";
    uint8_t head[CACHE_HEAD_BYTES] = {0};
    memcpy(head, "hearthWC", 8);
    memcpy(head + 8, numbers, sizeof numbers);
    memcpy(head + 32, layout, sizeof layout);
    memcpy(head + 96, "0123456789abcdef0123456789abcdef", 32);
    return length == CACHE_HEAD_BYTES + CACHE_ALIGN && memcmp(bytes, head, sizeof head) == 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char path[64];
    struct hearth_error err = {0};
    struct mapped_file file;
    const int descriptor = memfd_create("fuzz", MFD_CLOEXEC);
    if (descriptor < 0 || write(descriptor, bytes, length) != (ssize_t)length) {
        abort();
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    const int status = cache_map(path, &content, &file, &err);
    if ((status == HEARTH_OK) != is_wanted(bytes, length)) {
        __builtin_trap();
    }
    if (status == HEARTH_OK) {
        if (file.size != length || memcmp(file.bytes, bytes, length) != 0) {
            __builtin_trap();
        }
        file_unmap(&file);
    } else if (err.status != HEARTH_EFORMAT || err.text[0] == '\0' || strchr(err.text, '\n')) {
        __builtin_trap();
    }
    close(descriptor);
    return 0;
}
