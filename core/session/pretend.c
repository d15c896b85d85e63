/* pretend.c - a session at a position that nobody fed: random tokens and random rows, for measuring.
 *
 * Rows look like what kv_append, compress and index_topk's keys hold: numbers near 1, in the session's format. */
#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/command.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/noise.h"
#include "core/session/session_internal.h"

#define PRETEND_SEED UINT64_C(0x5EA50F1A6E)

/* Of packed rows: e4m3 elements have this deviation before their scale of 2^-7, so the numbers are near 1. */
#define KV_DEVIATION 96.0
#define KV_SCALE (-7)
#define KEY_SCALE (-1) /* e2m1 elements of any code have the deviation 2.93 */

struct pretend {
    struct random random;
    struct noise_table f32, bf16, e4m3, kv_scales, e2m1, key_scales;
};

static void
pretend_init(struct pretend *pretend, uint64_t length)
{
    random_seed(&pretend->random, PRETEND_SEED ^ length);
    noise_table_normal(HEARTH_F32, 0, 1, &pretend->f32);
    noise_table_normal(HEARTH_BF16, 0, 1, &pretend->bf16);
    noise_table_normal(HEARTH_E4M3, 0, KV_DEVIATION, &pretend->e4m3);
    noise_table_scales(KV_SCALE, &pretend->kv_scales);
    noise_table_bytes(&pretend->e2m1);
    noise_table_scales(KEY_SCALE, &pretend->key_scales);
}

/* One row of enum hearth_kv_format; row was zeroed, so its padding is. */
static void
make_row(struct pretend *pretend, const struct session *session, enum state_kind kind, unsigned char *row,
         uint64_t row_bytes)
{
    const struct model_shape *shape = session->world.shape;
    const bool is_packed = session->world.format.kv_format == HEARTH_KV_PACKED;
    if (!is_packed || kind == STATE_COMPRESSOR || kind == STATE_INDEX_COMPRESSOR) {
        noise_fill(&pretend->random, &pretend->f32, row, row_bytes / sizeof(float));
    } else if (kind == STATE_INDEX_KEYS) {
        const uint32_t pairs = (shape->index_head_dim + 1) / 2;
        noise_fill(&pretend->random, &pretend->e2m1, row, pairs);
        noise_fill(&pretend->random, &pretend->key_scales, row + pairs, (shape->index_head_dim + 31) / 32);
    } else {
        const uint32_t plain = shape->head_dim - shape->rope_dim;
        noise_fill(&pretend->random, &pretend->e4m3, row, plain);
        noise_fill(&pretend->random, &pretend->bf16, row + plain, shape->rope_dim);
        noise_fill(&pretend->random, &pretend->kv_scales, row + plain + 2 * shape->rope_dim, (plain + 63) / 64);
    }
}

/* Rows first .. n-1 of a state.  Writes begin at aligned offsets, so what stands before the first row is read first. */
static int
make_rows(struct pretend *pretend, const struct session *session, uint32_t layer, enum state_kind kind, uint64_t first,
          uint64_t n, struct hearth_error *err)
{
    const uint64_t row_bytes = session_find(session, layer, kind)->row_bytes;
    const uint64_t align = session_device(session, layer)->info.align_bytes;
    const uint64_t fits = SESSION_PIECE_BYTES / row_bytes;
    const uint64_t per_piece = round_up(fits > 0 ? fits : 1, align > 0 ? align : 1);
    int status = HEARTH_OK;
    unsigned char *piece = calloc(per_piece < n ? per_piece : n, row_bytes);
    if (!piece) {
        return error_no_memory(err, "session state");
    }
    for (uint64_t begin = first / per_piece * per_piece; status == HEARTH_OK && begin < n; begin += per_piece) {
        const uint64_t rest = n - begin;
        const uint64_t n_here = rest < per_piece ? rest : per_piece;
        const uint64_t n_kept = first > begin ? first - begin : 0;
        if (n_kept > 0) {
            status = session_read(session, layer, kind, begin * row_bytes, piece, n_kept * row_bytes, err);
        }
        for (uint64_t row = n_kept; row < n_here; row++) {
            memset(piece + row * row_bytes, 0, row_bytes);
            make_row(pretend, session, kind, piece + row * row_bytes, row_bytes);
        }
        if (status == HEARTH_OK) {
            status = session_write(session, layer, kind, begin * row_bytes, piece, n_here * row_bytes, err);
        }
    }
    free(piece);
    return status;
}

static int
make_layer(struct pretend *pretend, const struct session *session, uint32_t layer, uint64_t length,
           struct hearth_error *err)
{
    const struct model_shape *shape = session->world.shape;
    int status = HEARTH_OK;
    for (int i = 0; status == HEARTH_OK && i < N_STATE_KINDS; i++) {
        const enum state_kind kind = (enum state_kind)i;
        const bool has_history = kind == STATE_ENTRIES || kind == STATE_INDEX_KEYS;
        const uint64_t first = has_history ? session_rows(session, layer, kind) : 0;
        const uint64_t n = state_rows(shape, layer, kind, &session->world.format, length);
        if (first < n) {
            status = make_rows(pretend, session, layer, kind, first, n, err);
        }
    }
    return status;
}

static void
make_ids(struct pretend *pretend, struct session *session, uint64_t length)
{
    const uint32_t vocab_size = session->world.shape->vocab_size;
    for (uint64_t i = session->length; i < length; i++) {
        session->ids[i] = (int32_t)((random_next(&pretend->random) >> 32) * vocab_size >> 32);
    }
}

int
session_pretend(struct session *session, uint64_t length, struct hearth_error *err)
{
    if (length > session->max_tokens) {
        return error_set(err, HEARTH_ECONTEXT, "context: at most %" PRIu64 " tokens wanted, %" PRIu64 " asked",
                         session->max_tokens, length);
    }
    if (length <= session->length) {
        session->is_pretended = session->is_pretended || length < session->length; /* rings of a later token */
        session->length = length;
        session->covered = length;
        return HEARTH_OK;
    }
    int status = session_reserve(session, session->max_tokens - session->length, err);
    struct pretend *pretend = calloc(1, sizeof *pretend);
    if (!pretend) {
        return error_no_memory(err, "session state");
    }
    if (status == HEARTH_OK) {
        pretend_init(pretend, length);
        make_ids(pretend, session, length);
        for (uint32_t layer = 0; status == HEARTH_OK && layer < session->world.shape->n_layers; layer++) {
            status = make_layer(pretend, session, layer, length, err);
        }
        if (status == HEARTH_OK) {
            session->length = length;
            session->covered = length;
            session->is_pretended = true;
        } else {
            session_lose(session);
        }
    }
    free(pretend);
    return status;
}
