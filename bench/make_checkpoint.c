/* make_checkpoint.c - a checkpoint of random weights on disk, for measuring how files are loaded.
 *
 *     make-checkpoint FOLDER PRESET RATIO [RATIO ...]
 *
 * FOLDER exists and is empty; PRESET is v4-flash, v4-pro or tiny, with a layer for each RATIO (0, 4, 128).  V4-Flash
 * with 4 128 4 has 11.4 GiB.  There is no tokenizer: `hearth bench -m FOLDER` needs none.
 *
 * The writer is that of the tests, which speaks through Check: so this is a suite of one test. */
#include <config.h>

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/noise.h"
#include "core/model/model.h"
#include "core/model/preset.h"
#include "tests/unit/checkpoint.h"

#define MAX_RATIOS 64
#define N_SHARDS 4u
#define PIECE_BYTES (UINT64_C(8) << 20)

static struct model_shape shape;
static const char *folder;

/* Fails the whole run. */
static void
need(bool what, const char *text)
{
    if (!what) {
        fprintf(stderr, "make-checkpoint: %s\n", text);
        exit(1);
    }
}

/* The numbers that the tensor's elements are drawn from.  False: they are left as zeros. */
static bool
choose_table(const struct tensor *tensor, struct noise_table *ret_table)
{
    switch (tensor->dtype) {
    case HEARTH_BF16:
    case HEARTH_F32:
        noise_table_normal(tensor->dtype, tensor->kind == TENSOR_NORM ? 1 : 0, 0.02, ret_table);
        return true;
    case HEARTH_E4M3:
        noise_table_normal(tensor->dtype, 0, 96, ret_table);
        return true;
    case HEARTH_E2M1X2:
        noise_table_bytes(ret_table);
        return true;
    case HEARTH_E8M0:
        noise_table_scales(tensor->kind == TENSOR_ROUTED ? -7 : -12, ret_table);
        return true;
    default:
        return false;
    }
}

static void
fill_tensor(const struct tensor *tensor, struct random *random, unsigned char *piece)
{
    char path[CHECKPOINT_PATH_BYTES];
    struct noise_table table;
    if (!choose_table(tensor, &table)) {
        return;
    }
    snprintf(path, sizeof path, "%s/%s", folder, tensor->file);
    const int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    need(descriptor >= 0, path);
    for (uint64_t at = 0; at < tensor->size_bytes; at += PIECE_BYTES) {
        const uint64_t rest = tensor->size_bytes - at, size = rest < PIECE_BYTES ? rest : PIECE_BYTES;
        noise_fill(random, &table, piece, size / table.element_bytes);
        need(pwrite(descriptor, piece, (size_t)size, (off_t)(tensor->offset + at)) == (ssize_t)size, path);
    }
    close(descriptor);
}

START_TEST(make)
{
    struct model *model = NULL;
    struct hearth_error err = {0};
    struct random random;
    size_t n_tensors = 0;
    struct checkpoint *checkpoint = checkpoint_new(&shape, HEARTH_E2M1X2, N_SHARDS, 1, true);
    checkpoint_save(checkpoint, folder);
    checkpoint_free(checkpoint);
    need(model_open(folder, MODEL_HEADERS_ONLY, &model, &err) == HEARTH_OK, err.text);
    const struct tensor *tensors = model_tensors(model, &n_tensors);
    unsigned char *piece = malloc(PIECE_BYTES);
    need(piece != NULL, "no memory");
    random_seed(&random, 1);
    for (size_t i = 0; i < n_tensors; i++) {
        fill_tensor(&tensors[i], &random, piece);
    }
    printf("%s: %.2f GiB of weights\n", folder, (double)model_weight_bytes(model) / 1073741824.0);
    free(piece);
    model_close(model);
}
END_TEST

int
main(int argc, char **argv)
{
    uint32_t ratios[MAX_RATIOS];
    struct hearth_error err = {0};
    const size_t n_ratios = argc > 3 ? (size_t)argc - 3 : 0;
    need(n_ratios > 0 && n_ratios <= MAX_RATIOS, "FOLDER PRESET RATIO [RATIO ...] wanted");
    for (size_t i = 0; i < n_ratios; i++) {
        ratios[i] = (uint32_t)strtoul(argv[3 + i], NULL, 10);
    }
    need(preset_shape(argv[2], 0, ratios, n_ratios, &shape, &err) == HEARTH_OK, err.text);
    folder = argv[1];
    Suite *suite = suite_create("checkpoint");
    TCase *tcase = tcase_create("make");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, make);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_SILENT);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed;
}
