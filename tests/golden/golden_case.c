/* golden_case.c - see golden_case.h. */
#include <config.h>

#include "tests/golden/golden_case.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

size_t
golden_list(char *names[GOLDEN_MAX_CASES])
{
    size_t n = 0;
    DIR *folder = opendir(GOLDEN_DATA);
    if (!folder) {
        return 0;
    }
    for (const struct dirent *entry = readdir(folder); entry && n < GOLDEN_MAX_CASES; entry = readdir(folder)) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s/golden.safetensors", GOLDEN_DATA, entry->d_name);
        if (access(path, R_OK) == 0) {
            names[n] = strdup(entry->d_name);
            n += names[n] != NULL;
        }
    }
    closedir(folder);
    qsort(names, n, sizeof *names, compare_names);
    return n;
}

static const struct tensor *
find(const struct golden_case *golden, const char *kind, size_t prompt)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%zu", kind, prompt);
    for (size_t i = 0; i < golden->header.n_tensors; i++) {
        if (strcmp(golden->header.tensors[i].name, name) == 0) {
            return &golden->header.tensors[i];
        }
    }
    return NULL;
}

static const float *
find_logits(struct golden_case *golden, const char *kind, size_t prompt)
{
    const struct tensor *tensor = find(golden, kind, prompt);
    ck_assert_msg(tensor != NULL, "%s: %s.%zu is missing", golden->folder, kind, prompt);
    ck_assert_uint_eq(tensor->dtype, HEARTH_F32);
    ck_assert_uint_eq(tensor->n_dims, 2);
    ck_assert_uint_eq(tensor->dims[0], golden->prompts[prompt].n);
    golden->vocab_size = tensor->dims[1];
    return tensor->data;
}

void
golden_open(const char *name, struct golden_case *ret_case)
{
    struct golden_case golden = {.n_prompts = 0};
    struct hearth_error err = {0};
    char path[1024];
    snprintf(golden.folder, sizeof golden.folder, "%s/%s", GOLDEN_DATA, name);
    snprintf(path, sizeof path, "%s/golden.safetensors", golden.folder);
    ck_assert_msg(file_map(path, &golden.map, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_msg(safetensors_read(path, "golden.safetensors", golden.map.bytes, golden.map.size, &golden.header,
                                   &err) == HEARTH_OK, "%s", err.text);
    for (size_t i = 0; i < GOLDEN_MAX_PROMPTS; i++) {
        const struct tensor *ids = find(&golden, "input_ids", i);
        if (!ids) {
            break;
        }
        ck_assert_uint_eq(ids->dtype, HEARTH_I64);
        struct golden_prompt *prompt = &golden.prompts[i];
        prompt->n = ids->dims[0];
        prompt->ids = malloc(prompt->n * sizeof *prompt->ids);
        ck_assert_ptr_nonnull(prompt->ids);
        for (size_t t = 0; t < prompt->n; t++) {
            int64_t id;
            memcpy(&id, (const char *)ids->data + t * sizeof id, sizeof id);
            prompt->ids[t] = (int32_t)id;
        }
        prompt->exact = find_logits(&golden, "exact_logits", i);
        prompt->native = find_logits(&golden, "native_logits", i);
        golden.n_prompts++;
    }
    ck_assert_uint_gt(golden.n_prompts, 0);
    *ret_case = golden;
}

void
golden_close(struct golden_case *golden)
{
    for (size_t i = 0; i < golden->n_prompts; i++) {
        free(golden->prompts[i].ids);
    }
    safetensors_free(&golden->header);
    file_unmap(&golden->map);
}

struct hearth_config *
golden_config(const char *folder, const char *const *options)
{
    struct hearth_config *config = NULL;
    struct hearth_error err = {0};
    ck_assert_msg(hearth_config_new(&config, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_msg(hearth_config_set(config, "model.path", folder, "test", &err) == HEARTH_OK, "%s", err.text);
    ck_assert_msg(hearth_config_set(config, "plugins.path", PLUGIN_FOLDER, "test", &err) == HEARTH_OK, "%s", err.text);
    ck_assert_msg(hearth_config_set(config, "plugins.load", "ref", "test", &err) == HEARTH_OK, "%s", err.text);
    for (size_t i = 0; options && options[i]; i += 2) {
        ck_assert_msg(hearth_config_set(config, options[i], options[i + 1], "test", &err) == HEARTH_OK, "%s", err.text);
    }
    return config;
}

struct hearth_engine *
golden_engine(const struct hearth_config *config)
{
    struct hearth_engine *engine = NULL;
    struct hearth_error err = {0};
    ck_assert_msg(hearth_engine_open(config, NULL, &engine, &err) == HEARTH_OK, "%s", err.text);
    return engine;
}

struct hearth_session *
golden_feed(struct hearth_engine *engine, const int32_t *ids, size_t n, size_t piece, float *logits,
            size_t vocab_size)
{
    struct hearth_session *session = NULL;
    struct hearth_error err = {0};
    ck_assert_msg(hearth_session_new(engine, n, &session, &err) == HEARTH_OK, "%s", err.text);
    for (size_t done = 0; done < n; done += piece) {
        const size_t now = n - done < piece ? n - done : piece;
        ck_assert_msg(hearth_session_feed(session, ids + done, now, logits + done * vocab_size, now, NULL, &err) ==
                          HEARTH_OK, "%s", err.text);
    }
    ck_assert_uint_eq(hearth_session_length(session), n);
    return session;
}
