/* tokenizer_test.c - tokens equal to those of HF tokenizers, bytes given back whole, text streamed in whole characters.
 *
 * tests/data/tokenizer/small.json is a tokenizer of our own with the pre-tokenisation of DeepSeek-V4.
 * HEARTH_TEST_TOKENIZER may name the tokenizer.json of a real V4 checkpoint, which then must agree with v4.digests. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/tokenizer.h"
#include "core/model/utf8.h"
#include "tests/unit/tokenizer_strings.h"

#define DATA SOURCE_FOLDER "/tests/data/tokenizer/"
#define SEED UINT64_C(0x6865617274680001)
#define N_STRINGS 20000
#define GROUP 10
#define FNV_START UINT64_C(0xCBF29CE484222325)
#define RUN_BYTES ((size_t)1 << 20)

static struct tokenizer *
tokenizer_want(const char *path)
{
    struct tokenizer *tokenizer = NULL;
    struct hearth_error err = {0};
    ck_assert_msg(tokenizer_open(path, &tokenizer, &err) == HEARTH_OK, "%s", err.text);
    return tokenizer;
}

static struct string_parts *
parts_want(void)
{
    struct string_parts *parts = string_parts_read(DATA "strings.txt");
    ck_assert_ptr_nonnull(parts);
    return parts;
}

static int32_t *
encode_want(const struct tokenizer *tokenizer, const char *text, size_t length, bool special, size_t *ret_n)
{
    int32_t *ids = NULL;
    struct hearth_error err = {0};
    ck_assert_msg(tokenizer_encode(tokenizer, text, length, special, &ids, ret_n, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_ptr_nonnull(ids);
    return ids;
}

static void
decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t n, struct text *text)
{
    text_clear(text);
    for (size_t i = 0; i < n; i++) {
        size_t length;
        const char *bytes = tokenizer_token(tokenizer, ids[i], &length);
        if (!bytes) { /* not an assertion for each token: Check writes every one down */
            ck_abort_msg("token %d has no bytes", (int)ids[i]);
        }
        text_append(text, bytes, length);
    }
}

/* decode(encode(text)) == text, with and without names of added tokens */
static void
check_round_trip(const struct tokenizer *tokenizer, const char *text, size_t length)
{
    struct text back = {0};
    for (int special = 0; special < 2; special++) {
        size_t n;
        int32_t *ids = encode_want(tokenizer, text, length, special, &n);
        decode(tokenizer, ids, n, &back);
        ck_assert_uint_eq(back.length, length);
        ck_assert(length == 0 || memcmp(back.bytes, text, length) == 0);
        free(ids);
    }
    text_free(&back);
}

static void
check_ids(const struct tokenizer *tokenizer, const char *text, const char *wanted)
{
    struct text found = {0};
    size_t n;
    int32_t *ids = encode_want(tokenizer, text, strlen(text), true, &n);
    text_add(&found, "");
    for (size_t i = 0; i < n; i++) {
        text_printf(&found, i ? " %d" : "%d", (int)ids[i]);
    }
    ck_assert_str_eq(found.bytes, wanted);
    text_free(&found);
    free(ids);
}

/* ---- equal to HF tokenizers ------------------------------------------------------------------------------------- */

static uint64_t
fnv(uint64_t digest, const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        digest = (digest ^ ((const unsigned char *)bytes)[i]) * UINT64_C(0x100000001B3);
    }
    return digest;
}

static uint64_t
fnv_u32(uint64_t digest, uint32_t value)
{
    const unsigned char bytes[4] = {value & 0xFF, value >> 8 & 0xFF, value >> 16 & 0xFF, value >> 24};
    return fnv(digest, bytes, sizeof bytes);
}

static uint64_t
digest_read(FILE *file)
{
    char line[32];
    ck_assert_ptr_nonnull(fgets(line, sizeof line, file));
    ck_assert_uint_eq(strspn(line, "0123456789abcdef"), 16);
    return strtoull(line, NULL, 16);
}

/* Every group of strings has the tokens that HF tokenizers gave it. */
static void
check_digests(const struct tokenizer *tokenizer, const char *path)
{
    struct string_parts *parts = parts_want();
    struct text string = {0};
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    uint64_t all_strings = FNV_START, digest = FNV_START;
    const uint64_t all_strings_wanted = digest_read(file);
    for (uint64_t i = 0; i < N_STRINGS; i++) {
        string_make(parts, SEED, i, &string);
        all_strings = fnv(all_strings, string.bytes, string.length);
        size_t n;
        int32_t *ids = encode_want(tokenizer, string.bytes, string.length, true, &n);
        digest = fnv_u32(digest, (uint32_t)n);
        for (size_t k = 0; k < n; k++) {
            digest = fnv_u32(digest, (uint32_t)ids[k]);
        }
        free(ids);
        if (i % GROUP == GROUP - 1) {
            ck_assert_msg(digest == digest_read(file), "%s: strings %u to %u have other tokens", path,
                          (unsigned)(i - GROUP + 1), (unsigned)i);
            digest = FNV_START;
        }
    }
    ck_assert_msg(all_strings == all_strings_wanted, "%s was made from other strings", path);
    fclose(file);
    text_free(&string);
    string_parts_free(parts);
}

/* A line of small.cases: text with the escapes \\ and \u{HEX}, a tab, the ids. */
START_TEST(small_cases)
{
    struct tokenizer *tokenizer = tokenizer_want(DATA "small.json");
    FILE *file = fopen(DATA "small.cases", "r");
    ck_assert_ptr_nonnull(file);
    char line[4096];
    unsigned n_cases = 0;
    for (; fgets(line, sizeof line, file); n_cases++) {
        struct text text = {0};
        char *tab = strchr(line, '\t');
        ck_assert_ptr_nonnull(tab);
        *tab = '\0';
        tab[strcspn(tab + 1, "\n") + 1] = '\0';
        string_unescape(line, &text);
        size_t n;
        int32_t *ids = encode_want(tokenizer, text.bytes, text.length, true, &n);
        char *at = tab + 1;
        for (size_t i = 0; i < n; i++) {
            ck_assert_msg(strtol(at, &at, 10) == ids[i], "token %zu of %s is %d, not as in %s", i, line, (int)ids[i],
                          tab + 1);
        }
        ck_assert_msg(*at == '\0', "%s: %zu tokens found, more wanted: %s", line, n, tab + 1);
        free(ids);
        text_free(&text);
    }
    ck_assert_uint_ge(n_cases, 2000);
    fclose(file);
    tokenizer_free(tokenizer);
}
END_TEST

START_TEST(small_digests)
{
    struct tokenizer *tokenizer = tokenizer_want(DATA "small.json");
    check_digests(tokenizer, DATA "small.digests");
    tokenizer_free(tokenizer);
}
END_TEST

START_TEST(v4_digests)
{
    struct tokenizer *tokenizer = tokenizer_want(getenv("HEARTH_TEST_TOKENIZER"));
    ck_assert_uint_eq(tokenizer_vocab_size(tokenizer), 129280);
    check_ids(tokenizer, "Hello world", "19923 2058");
    check_ids(tokenizer, "  ", "262");
    ck_assert_int_eq(tokenizer_find(tokenizer, "<think>"), 128821);
    check_digests(tokenizer, DATA "v4.digests");
    tokenizer_free(tokenizer);
}
END_TEST

/* ---- added tokens ----------------------------------------------------------------------------------------------- */

/* The zq names of small.json overlap: zqone, zqonetwo and zqthree are "normalized", zqtwothree is not and goes first.
 */
START_TEST(added_tokens)
{
    struct tokenizer *tokenizer = tokenizer_want(DATA "small.json");
    const struct {
        const char *text, *names[4];
    } cases[] = {
        {"zqonetwo", {"zqonetwo"}},
        {"zqonezqonetwo", {"zqone", "zqonetwo"}},
        {"zqonezqtwothree", {"zqone", "zqtwothree"}},
        {"<think><｜User｜></think>", {"<think>", "<｜User｜>", "</think>"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n, n_wanted = 0;
        int32_t *ids = encode_want(tokenizer, cases[i].text, strlen(cases[i].text), true, &n);
        for (; n_wanted < 4 && cases[i].names[n_wanted]; n_wanted++) {
            ck_assert_uint_lt(n_wanted, n);
            ck_assert_int_eq(ids[n_wanted], tokenizer_find(tokenizer, cases[i].names[n_wanted]));
        }
        ck_assert_uint_eq(n, n_wanted);
        free(ids);
        ids = encode_want(tokenizer, cases[i].text, strlen(cases[i].text), false, &n);
        for (size_t k = 0; k < n; k++) {
            for (n_wanted = 0; n_wanted < 4 && cases[i].names[n_wanted]; n_wanted++) {
                ck_assert_int_ne(ids[k], tokenizer_find(tokenizer, cases[i].names[n_wanted]));
            }
        }
        free(ids);
    }
    tokenizer_free(tokenizer);
}
END_TEST

START_TEST(names)
{
    struct tokenizer *tokenizer = tokenizer_want(DATA "small.json");
    size_t length;
    ck_assert_int_eq(tokenizer_find(tokenizer, "<｜begin▁of▁sentence｜>"), 0);
    ck_assert_int_eq(tokenizer_find(tokenizer, "no such token"), -1);
    ck_assert_int_eq(tokenizer_find(tokenizer, ""), -1);
    const int32_t space = tokenizer_find(tokenizer, "Ġ");
    ck_assert_int_ge(space, 0);
    const char *bytes = tokenizer_token(tokenizer, space, &length);
    ck_assert_uint_eq(length, 1);
    ck_assert_int_eq(bytes[0], ' ');
    length = 7;
    ck_assert_ptr_null(tokenizer_token(tokenizer, -1, &length));
    ck_assert_uint_eq(length, 0);
    ck_assert_ptr_null(tokenizer_token(tokenizer, (int32_t)tokenizer_vocab_size(tokenizer), &length));
    tokenizer_free(tokenizer);
}
END_TEST

/* ---- any bytes -------------------------------------------------------------------------------------------------- */

START_TEST(invalid_utf8)
{
    struct tokenizer *tokenizer = tokenizer_want(DATA "small.json");
    static const char *const texts[] = {
        "\xFF",         "\x80\x80",          "a\xC0\xAFz", "\xE4\xB8",         "\xE4\xB8 x",  "\xED\xA0\x80",
        "\xF4\x90\x80", "\xF0\x9F\x98 \xF0", "\xC3(",      "caf\xC3\xA9\xC3z", "<think\xFF>", "\xF0\x80\x80\x80",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        check_round_trip(tokenizer, texts[i], strlen(texts[i]));
    }
    check_round_trip(tokenizer, "", 0);
    check_round_trip(tokenizer, "a\0b", 3);
    for (unsigned pair = 0; pair < 0x10000; pair += 7) {
        const char bytes[2] = {(char)(pair >> 8), (char)pair};
        check_round_trip(tokenizer, bytes, sizeof bytes);
    }
    tokenizer_free(tokenizer);
}
END_TEST

/* Valid text around invalid bytes has the tokens it has alone. */
START_TEST(invalid_utf8_apart)
{
    struct tokenizer *tokenizer = tokenizer_want(DATA "small.json");
    size_t n, n_left, n_right;
    int32_t *ids = encode_want(tokenizer, "the end\xFF of it", 14, true, &n);
    int32_t *left = encode_want(tokenizer, "the end", 7, true, &n_left);
    int32_t *right = encode_want(tokenizer, " of it", 6, true, &n_right);
    ck_assert_uint_eq(n, n_left + 1 + n_right);
    ck_assert_mem_eq(ids, left, n_left * sizeof *ids);
    ck_assert_int_eq(ids[n_left], tokenizer_find(tokenizer, "ÿ"));
    ck_assert_mem_eq(ids + n_left + 1, right, n_right * sizeof *ids);
    free(ids);
    free(left);
    free(right);
    tokenizer_free(tokenizer);
}
END_TEST

/* Strings with bytes flipped, dropped and cut. */
START_TEST(damaged_strings)
{
    struct tokenizer *tokenizer = tokenizer_want(DATA "small.json");
    struct string_parts *parts = parts_want();
    struct text string = {0};
    uint64_t state = SEED;
    for (uint64_t i = 0; i < 5000; i++) {
        string_make(parts, SEED + 2, i, &string);
        for (uint64_t n = random_below(&state, 5); n > 0; n--) {
            string.bytes[random_below(&state, string.length)] = (char)random_next(&state);
        }
        const size_t start = random_below(&state, string.length);
        check_round_trip(tokenizer, string.bytes + start, string.length - start);
    }
    text_free(&string);
    string_parts_free(parts);
    tokenizer_free(tokenizer);
}
END_TEST

/* Long runs cost n log n: were it n squared, the test would not end in time. */
START_TEST(long_runs)
{
    static const char *const units[] = {" ",  "7",   "\n",           "a",       "(", "<", "\x01", "\xFF",
                                        "ab", " \n", "\xE4\xB8\xAD", "\xCC\x81"};
    struct tokenizer *tokenizer = tokenizer_want(DATA "small.json");
    const char *unit = units[_i];
    char *text = malloc(RUN_BYTES + 2);
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < RUN_BYTES; i++) {
        text[i] = unit[i % strlen(unit)];
    }
    memcpy(text + RUN_BYTES, " x", 2); /* so that a run of white space looks back from its end */
    check_round_trip(tokenizer, text, RUN_BYTES + 2);
    free(text);
    tokenizer_free(tokenizer);
}
END_TEST

/* ---- the stream ------------------------------------------------------------------------------------------------- */

/* Pushes the bytes of text one token each; wanted: what each push gives, then what finish gives, with | between. */
static void
check_stream(const struct tokenizer *tokenizer, const char *text, size_t length, const char *wanted)
{
    struct text_stream *stream = NULL;
    struct text found = {0};
    const char *piece;
    ck_assert_int_eq(text_stream_new(tokenizer, &stream, NULL), HEARTH_OK);
    for (size_t i = 0; i < length; i++) {
        int32_t id = -1;
        for (int32_t other = 0; other < (int32_t)tokenizer_vocab_size(tokenizer) && id < 0; other++) {
            size_t n;
            const char *bytes = tokenizer_token(tokenizer, other, &n);
            id = n == 1 && bytes[0] == text[i] ? other : -1;
        }
        ck_assert_int_eq(text_stream_push(stream, id, &piece, NULL), HEARTH_OK);
        text_printf(&found, "%s|", piece);
    }
    ck_assert_int_eq(text_stream_finish(stream, &piece, NULL), HEARTH_OK);
    text_add(&found, piece);
    ck_assert_str_eq(found.bytes, wanted);
    ck_assert_int_eq(text_stream_finish(stream, &piece, NULL), HEARTH_OK);
    ck_assert_str_eq(piece, "");
    text_free(&found);
    text_stream_free(stream);
}

START_TEST(stream_of_bytes)
{
    struct tokenizer *tokenizer = tokenizer_want(DATA "small.json");
    const struct {
        const char *text, *wanted;
    } cases[] = {
        {"", ""},
        {"ab", "a|b|"},
        {"\xC3\xA9", "|é|"},
        {"\xF0\x9F\x98\x80!", "|||😀|!|"},
        {"\xFFz", "\uFFFD|z|"},
        {"\xE4\xB8z", "||\uFFFDz|"},               /* one for the whole start of a character */
        {"\xE0\x80z", "|\uFFFD\uFFFD|z|"},         /* E0 80 begins no character, so each counts */
        {"\xED\xA0\x80", "|\uFFFD\uFFFD|\uFFFD|"}, /* a surrogate */
        {"\xF4\x90", "|\uFFFD\uFFFD|"},            /* above U+10FFFF */
        {"\xE4\xB8", "||\uFFFD"},                  /* still half at the end */
        {"\xC3\xC3\xA9", "|\uFFFD|é|"},
        {"\xF0\x9F\xE4\xB8\xAD", "||\uFFFD||中|"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_stream(tokenizer, cases[i].text, strlen(cases[i].text), cases[i].wanted);
    }
    check_stream(tokenizer, "a\0", 2, "a|\uFFFD|");
    tokenizer_free(tokenizer);
}
END_TEST

static bool
text_is_whole(const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        const int size = utf8_scan((const unsigned char *)text, left);
        if (size <= 0) {
            return false;
        }
        text += size;
        left -= (size_t)size;
    }
    return true;
}

START_TEST(stream_of_strings)
{
    struct tokenizer *tokenizer = tokenizer_want(DATA "small.json");
    struct string_parts *parts = parts_want();
    struct text string = {0}, found = {0};
    struct text_stream *stream = NULL;
    ck_assert_int_eq(text_stream_new(tokenizer, &stream, NULL), HEARTH_OK);
    for (uint64_t i = 0; i < 3000; i++) {
        const char *piece;
        size_t n;
        string_make(parts, SEED + 3, i, &string);
        int32_t *ids = encode_want(tokenizer, string.bytes, string.length, true, &n);
        text_clear(&found);
        for (size_t k = 0; k < n; k++) {
            ck_assert_int_eq(text_stream_push(stream, ids[k], &piece, NULL), HEARTH_OK);
            ck_assert(text_is_whole(piece));
            text_add(&found, piece);
        }
        ck_assert_int_eq(text_stream_finish(stream, &piece, NULL), HEARTH_OK);
        ck_assert_str_eq(piece, "");
        const char *at = found.bytes;
        for (size_t k = 0; k < string.length; at += string.bytes[k] ? 1 : 3, k++) {
            if (string.bytes[k] ? *at != string.bytes[k] : memcmp(at, "\uFFFD", 3) != 0) {
                ck_abort_msg("string %u: byte %zu differs in the stream", (unsigned)i, k);
            }
        }
        ck_assert_ptr_eq(at, found.bytes + found.length);
        free(ids);
    }
    text_stream_free(stream);
    text_free(&string);
    text_free(&found);
    string_parts_free(parts);
    tokenizer_free(tokenizer);
}
END_TEST

START_TEST(stream_of_unknown_id)
{
    struct tokenizer *tokenizer = tokenizer_want(DATA "small.json");
    struct text_stream *stream = NULL;
    struct hearth_error err;
    const char *piece = "untouched";
    ck_assert_int_eq(text_stream_new(tokenizer, &stream, NULL), HEARTH_OK);
    ck_assert_int_eq(text_stream_push(stream, -1, &piece, &err), HEARTH_EUSAGE);
    ck_assert_int_eq(text_stream_push(stream, (int32_t)tokenizer_vocab_size(tokenizer), &piece, &err), HEARTH_EUSAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "token id"));
    ck_assert_str_eq(piece, "untouched");
    text_stream_free(stream);
    tokenizer_free(tokenizer);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("tokenizer");
    TCase *tokens = tcase_create("tokens"), *runs = tcase_create("runs"), *stream = tcase_create("stream");
    tcase_set_timeout(tokens, 120);
    tcase_set_timeout(runs, 60);
    tcase_set_timeout(stream, 60);
    tcase_add_test(tokens, small_cases);
    tcase_add_test(tokens, small_digests);
    if (getenv("HEARTH_TEST_TOKENIZER")) {
        tcase_add_test(tokens, v4_digests);
    } else {
        puts("skipped: the digests of DeepSeek-V4's own tokenizer (HEARTH_TEST_TOKENIZER does not name its "
             "tokenizer.json)");
    }
    tcase_add_test(tokens, added_tokens);
    tcase_add_test(tokens, names);
    tcase_add_test(tokens, invalid_utf8);
    tcase_add_test(tokens, invalid_utf8_apart);
    tcase_add_test(tokens, damaged_strings);
    tcase_add_loop_test(runs, long_runs, 0, 12);
    tcase_add_test(stream, stream_of_bytes);
    tcase_add_test(stream, stream_of_strings);
    tcase_add_test(stream, stream_of_unknown_id);
    suite_add_tcase(suite, tokens);
    suite_add_tcase(suite, runs);
    suite_add_tcase(suite, stream);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
