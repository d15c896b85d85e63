/* opencl_copies_test.c - the OpenCL backend's copies through its plugin table. */
#include <config.h>

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/plugins/opencl_case.h"

/* size bytes there and back, `offset` into a buffer. */
static void
go_and_return(uint64_t size, uint64_t offset)
{
    struct hearth_buffer *buffer = NULL;
    unsigned char *sent = malloc(size), *got = calloc(size, 1);
    ck_assert(sent != NULL && got != NULL);
    for (uint64_t i = 0; i < size; i++) {
        sent[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    ck_assert_msg(plugin->buffer_alloc(device, size + offset, &buffer, &err) == 0, "%s", err.text);
    const struct hearth_view view = {buffer, offset};
    ck_assert_msg(plugin->buffer_write(device, view, sent, size, NULL, &err) == 0, "%s", err.text);
    ck_assert_msg(plugin->buffer_read(device, got, view, size, NULL, &err) == 0, "%s", err.text);
    ck_assert_int_eq(memcmp(sent, got, size), 0);
    plugin->buffer_free(device, buffer);
    free(sent);
    free(got);
}

/* A buffer written piece by piece, more than pinned memory holds at once, each source gone when its call returned; now
 * and then something is read. */
static void
go_in_small_steps(uint64_t step)
{
    const uint64_t size = 40u << 20;
    struct hearth_buffer *buffer = NULL;
    unsigned char *wanted = malloc(size), *got = calloc(size, 1), *sent = malloc(step);
    ck_assert(wanted != NULL && got != NULL && sent != NULL);
    ck_assert_msg(plugin->buffer_alloc(device, size, &buffer, &err) == 0, "%s", err.text);
    uint64_t n_steps = 0;
    for (uint64_t at = 0; at < size; at += step) {
        const uint64_t n = size - at < step ? size - at : step;
        for (uint64_t i = 0; i < n; i++) {
            sent[i] = wanted[at + i] = (unsigned char)((at + i) * 2654435761u >> 11);
        }
        ck_assert_msg(plugin->buffer_write(device, (struct hearth_view){buffer, at}, sent, n, NULL, &err) == 0, "%s",
                      err.text);
        memset(sent, 0, n);
        if (n_steps++ % 7 == 6) {
            ck_assert_msg(plugin->buffer_read(device, got, (struct hearth_view){buffer, at}, n, NULL, &err) == 0, "%s",
                          err.text);
            ck_assert_int_eq(memcmp(got, wanted + at, n), 0);
        }
    }
    ck_assert_msg(plugin->buffer_read(device, got, (struct hearth_view){buffer, 0}, size, NULL, &err) == 0, "%s",
                  err.text);
    ck_assert_int_eq(memcmp(wanted, got, size), 0);
    plugin->buffer_free(device, buffer);
    free(wanted);
    free(got);
    free(sent);
}

START_TEST(copies_keep_every_byte)
{
    static const char *const copies[] = {"copies=direct", "copies=pinned", "copies=shared"};
    for (int i = 0; i < 3; i++) {
        opencl_open(copies[i], NULL);
        go_and_return(1, 0);
        go_and_return(4099, 8);
        go_and_return((16u << 20) + 4, 4); /* a piece of pinned memory and a little */
        go_and_return((49u << 20) + 12, 0); /* several, and an end */
        go_in_small_steps(100004);
        go_in_small_steps(262144); /* not small */
        opencl_close();
    }
}
END_TEST

START_TEST(a_copy_stays_inside)
{
    struct hearth_buffer *buffer = NULL;
    char bytes[64] = {0};
    opencl_open(NULL, NULL);
    ck_assert_int_eq(plugin->buffer_alloc(device, 64, &buffer, &err), 0);
    ck_assert_int_eq(plugin->buffer_write(device, (struct hearth_view){buffer, 4}, bytes, 64, NULL, &err),
                     HEARTH_EINTERNAL);
    ck_assert_int_eq(plugin->buffer_read(device, bytes, (struct hearth_view){buffer, 65}, 1, NULL, &err),
                     HEARTH_EINTERNAL);
    plugin->buffer_free(device, buffer);
    opencl_close();
}
END_TEST

int
main(void)
{
    TCase *tests = tcase_create("copies");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, copies_keep_every_byte);
    tcase_add_test(tests, a_copy_stays_inside);
    return opencl_run_all("opencl copies", tests);
}
