/* snapshot.c - a session in a file.
 *
 *     8 bytes      "hearthKV"
 *     9 x u64      version, numerics, kv_format, n_layers, window, length, and 3 reserved (0)
 *     32 bytes     the model's identity (digest of its config and headers)
 *     length x i32 token ids
 *     per layer    the last min(length, window - 1) window rows, oldest first: no later token sees more;
 *                  then the entries, the index keys, the compressor's and the index compressor's state
 *     32 bytes     SHA-256 of everything before
 *
 * Little-endian.  Rings are stored in order of time, so that a file does not depend on the size of steps. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/session/session_internal.h"

#define SNAPSHOT_MAGIC "hearthKV"
#define SNAPSHOT_VERSION 1u
#define SNAPSHOT_N_FIELDS 9u
#define SNAPSHOT_IDENTITY_BYTES 32u
#define SNAPSHOT_HEADER_BYTES (8u + SNAPSHOT_N_FIELDS * 8u + SNAPSHOT_IDENTITY_BYTES)

enum { FIELD_VERSION, FIELD_NUMERICS, FIELD_KV_FORMAT, FIELD_LAYERS, FIELD_WINDOW, FIELD_LENGTH };

/* A file being written or read, and the digest of what went through it. */
struct stream {
    const char *path;
    FILE *file;
    SHA2_CTX digest;
    unsigned char *piece; /* [SESSION_PIECE_BYTES] */
};

static int
stream_write(struct stream *stream, const void *bytes, uint64_t size, struct hearth_error *err)
{
    SHA256Update(&stream->digest, bytes, size);
    if (fwrite(bytes, 1, size, stream->file) != size) {
        return error_set_errno(err, HEARTH_EIO, "%s", stream->path);
    }
    return HEARTH_OK;
}

static int
stream_read(struct stream *stream, void *bytes, uint64_t size, struct hearth_error *err)
{
    if (fread(bytes, 1, size, stream->file) != size) {
        return error_set_errno(err, HEARTH_EIO, "%s", stream->path);
    }
    SHA256Update(&stream->digest, bytes, size);
    return HEARTH_OK;
}

/* Rows of the window that a later token may still see. */
static uint64_t
window_rows(const struct model_shape *shape, uint64_t length)
{
    return length < shape->window - 1 ? length : shape->window - 1;
}

static uint64_t
snapshot_bytes(const struct session_world *world, uint64_t length)
{
    const struct model_shape *shape = world->shape;
    uint64_t bytes = SNAPSHOT_HEADER_BYTES + length * sizeof(int32_t) + SHA256_DIGEST_LENGTH;
    for (uint32_t layer = 0; layer < shape->n_layers; layer++) {
        bytes += window_rows(shape, length) *
                 state_row_bytes(shape, layer, STATE_RING, &world->format);
        for (int kind = STATE_RING + 1; kind < N_STATE_KINDS; kind++) {
            bytes += state_rows(shape, layer, (enum state_kind)kind, &world->format, length) *
                     state_row_bytes(shape, layer, (enum state_kind)kind, &world->format);
        }
    }
    return bytes;
}

static void
header_fill(unsigned char header[SNAPSHOT_HEADER_BYTES], const struct session_world *world,
            uint64_t length)
{
    const uint64_t fields[SNAPSHOT_N_FIELDS] = {
        [FIELD_VERSION] = SNAPSHOT_VERSION,          [FIELD_NUMERICS] = world->numerics,
        [FIELD_KV_FORMAT] = world->format.kv_format, [FIELD_LAYERS] = world->shape->n_layers,
        [FIELD_WINDOW] = world->shape->window,       [FIELD_LENGTH] = length,
    };
    memcpy(header, SNAPSHOT_MAGIC, 8);
    for (size_t i = 0; i < SNAPSHOT_N_FIELDS; i++) {
        write_le64(header + 8 + 8 * i, fields[i]);
    }
    memcpy(header + 8 + 8 * SNAPSHOT_N_FIELDS, world->identity, SNAPSHOT_IDENTITY_BYTES);
}

/* The ring of a layer, in memory: read whole, because a slot's offset need not be aligned. */
static int
ring_alloc(const struct session *session, uint32_t layer, unsigned char **ret_ring,
           uint64_t *ret_size, struct hearth_error *err)
{
    const struct state *state = session_find(session, layer, STATE_RING);
    const uint64_t size = state->row_bytes * state->capacity_rows;
    unsigned char *ring = calloc(1, size);
    if (!ring) {
        return error_no_memory(err, "a window ring");
    }
    *ret_ring = ring;
    *ret_size = size;
    return HEARTH_OK;
}

/* Position of the i-th stored window row, as a slot's bytes. */
static unsigned char *
ring_row(const struct session *session, uint32_t layer, unsigned char *ring, uint64_t length,
         uint64_t i)
{
    const struct state *state = session_find(session, layer, STATE_RING);
    const uint64_t position = length - window_rows(session->world.shape, length) + i;
    return ring + position % state->capacity_rows * state->row_bytes;
}

static int
save_ring(const struct session *session, uint32_t layer, struct stream *stream,
          struct hearth_error *err)
{
    const uint64_t row_bytes = session_find(session, layer, STATE_RING)->row_bytes;
    const uint64_t n_rows = window_rows(session->world.shape, session->length);
    unsigned char *ring = NULL;
    uint64_t size = 0;
    int status = ring_alloc(session, layer, &ring, &size, err);
    if (status < 0) {
        return status;
    }
    status = session_read(session, layer, STATE_RING, 0, ring, size, err);
    for (uint64_t i = 0; status == HEARTH_OK && i < n_rows; i++) {
        status = stream_write(stream, ring_row(session, layer, ring, session->length, i), row_bytes,
                              err);
    }
    free(ring);
    return status;
}

static int
load_ring(const struct session *session, uint32_t layer, uint64_t length, struct stream *stream,
          struct hearth_error *err)
{
    const uint64_t row_bytes = session_find(session, layer, STATE_RING)->row_bytes;
    unsigned char *ring = NULL;
    uint64_t size = 0;
    int status = ring_alloc(session, layer, &ring, &size, err);
    if (status < 0) {
        return status;
    }
    for (uint64_t i = 0; status == HEARTH_OK && i < window_rows(session->world.shape, length); i++) {
        status = stream_read(stream, ring_row(session, layer, ring, length, i), row_bytes, err);
    }
    if (status == HEARTH_OK) {
        status = session_write(session, layer, STATE_RING, 0, ring, size, err);
    }
    free(ring);
    return status;
}

/* Moves size bytes of a state between its buffer and the file. */
static int
pass_state(const struct session *session, uint32_t layer, enum state_kind kind, uint64_t size,
           bool is_save, struct stream *stream, struct hearth_error *err)
{
    int status = HEARTH_OK;
    for (uint64_t offset = 0; status == HEARTH_OK && offset < size; offset += SESSION_PIECE_BYTES) {
        const uint64_t rest = size - offset;
        const uint64_t n = rest < SESSION_PIECE_BYTES ? rest : SESSION_PIECE_BYTES;
        if (is_save) {
            status = session_read(session, layer, kind, offset, stream->piece, n, err);
            status = status < 0 ? status : stream_write(stream, stream->piece, n, err);
        } else {
            status = stream_read(stream, stream->piece, n, err);
            status = status < 0
                         ? status
                         : session_write(session, layer, kind, offset, stream->piece, n, err);
        }
    }
    return status;
}

static int
pass_layers(const struct session *session, uint64_t length, bool is_save, struct stream *stream,
            struct hearth_error *err)
{
    const struct session_world *world = &session->world;
    int status = HEARTH_OK;
    for (uint32_t layer = 0; status == HEARTH_OK && layer < world->shape->n_layers; layer++) {
        status = is_save ? save_ring(session, layer, stream, err)
                         : load_ring(session, layer, length, stream, err);
        for (int i = STATE_RING + 1; status == HEARTH_OK && i < N_STATE_KINDS; i++) {
            const enum state_kind kind = (enum state_kind)i;
            const uint64_t size = state_rows(world->shape, layer, kind, &world->format, length) *
                                  session_find(session, layer, kind)->row_bytes;
            status = pass_state(session, layer, kind, size, is_save, stream, err);
        }
    }
    return status;
}

static int
save_stream(const struct session *session, struct stream *stream, struct hearth_error *err)
{
    unsigned char header[SNAPSHOT_HEADER_BYTES];
    unsigned char digest[SHA256_DIGEST_LENGTH];
    header_fill(header, &session->world, session->length);
    SHA256Init(&stream->digest);
    int status = stream_write(stream, header, sizeof header, err);
    if (status == HEARTH_OK) {
        status = stream_write(stream, session->ids, session->length * sizeof(int32_t), err);
    }
    if (status == HEARTH_OK) {
        status = pass_layers(session, session->length, true, stream, err);
    }
    if (status < 0) {
        return status;
    }
    SHA256Final(digest, &stream->digest);
    if (fwrite(digest, 1, sizeof digest, stream->file) != sizeof digest ||
        fflush(stream->file) != 0 || fsync(fileno(stream->file)) != 0) {
        return error_set_errno(err, HEARTH_EIO, "%s", stream->path);
    }
    return HEARTH_OK;
}

/* Opens PATH.XXXXXX beside the target, so that the rename stays within one file system. */
static int
open_beside(const char *path, char **ret_name, FILE **ret_file, struct hearth_error *err)
{
    const size_t length = strlen(path) + sizeof ".XXXXXX";
    char *name = malloc(length);
    if (!name) {
        return error_no_memory(err, path);
    }
    snprintf(name, length, "%s.XXXXXX", path);
    const int descriptor = mkstemp(name);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
    if (!file) {
        const int status = error_set_errno(err, HEARTH_EIO, "%s", path);
        if (descriptor >= 0) {
            close(descriptor);
            unlink(name);
        }
        free(name);
        return status;
    }
    *ret_name = name;
    *ret_file = file;
    return HEARTH_OK;
}

int
session_save(const struct session *session, const char *path, struct hearth_error *err)
{
    struct stream stream = {.path = path, .piece = malloc(SESSION_PIECE_BYTES)};
    char *name = NULL;
    if (!stream.piece) {
        return error_no_memory(err, path);
    }
    int status = open_beside(path, &name, &stream.file, err);
    if (status < 0) {
        goto fail_open;
    }
    status = save_stream(session, &stream, err);
    if (fclose(stream.file) != 0 && status == HEARTH_OK) {
        status = error_set_errno(err, HEARTH_EIO, "%s", path);
    }
    if (status == HEARTH_OK && rename(name, path) != 0) {
        status = error_set_errno(err, HEARTH_EIO, "%s", path);
    }
    if (status < 0) {
        unlink(name);
    }
    free(name);
fail_open:
    free(stream.piece);
    return status;
}

static int
refuse_field(const char *path, const char *what, uint64_t wanted, uint64_t found,
             struct hearth_error *err)
{
    return error_set(err, HEARTH_EFORMAT, "%s: %s %" PRIu64 " wanted, %" PRIu64 " found", path, what,
                     wanted, found);
}

/* Compares the header with what this engine would write, and the file's size with what it promises. */
static int
check_header(const struct stream *stream, const struct session_world *world,
             const unsigned char found[SNAPSHOT_HEADER_BYTES], uint64_t file_bytes,
             uint64_t max_tokens, uint64_t *ret_length, struct hearth_error *err)
{
    static const char *const names[] = {"snapshot version", "numerics mode", "kv format",
                                        "layer count", "window"};
    unsigned char wanted[SNAPSHOT_HEADER_BYTES];
    const uint64_t length = read_le64(found + 8 + 8 * FIELD_LENGTH);
    header_fill(wanted, world, length);
    if (memcmp(found, wanted, 8) != 0) {
        return error_set(err, HEARTH_EFORMAT, "%s: a hearth session wanted, something else found",
                         stream->path);
    }
    for (int i = FIELD_VERSION; i < FIELD_LENGTH; i++) {
        const uint64_t field = read_le64(found + 8 + 8 * i);
        if (field != read_le64(wanted + 8 + 8 * i)) {
            return refuse_field(stream->path, names[i], read_le64(wanted + 8 + 8 * i), field, err);
        }
    }
    if (memcmp(found, wanted, sizeof wanted) != 0) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s: a session of this model wanted, one of another found", stream->path);
    }
    /* max_positions bounds every product below, long before the file's size is believed */
    if (length > world->shape->max_positions) {
        return refuse_field(stream->path, "length of at most", world->shape->max_positions, length,
                            err);
    }
    if (file_bytes != snapshot_bytes(world, length)) {
        return refuse_field(stream->path, "file size", snapshot_bytes(world, length), file_bytes, err);
    }
    if (length > max_tokens) {
        return error_set(err, HEARTH_ECONTEXT, "%s: at most %" PRIu64 " tokens wanted, %" PRIu64
                         " found", stream->path, max_tokens, length);
    }
    *ret_length = length;
    return HEARTH_OK;
}

static int
load_ids(struct session *session, uint64_t length, struct stream *stream, struct hearth_error *err)
{
    int status = session_reserve(session, length, err);
    if (status == HEARTH_OK) {
        status = stream_read(stream, session->ids, length * sizeof(int32_t), err);
    }
    for (uint64_t i = 0; status == HEARTH_OK && i < length; i++) {
        const int32_t id = session->ids[i];
        if (id < 0 || (uint32_t)id >= session->world.shape->vocab_size) {
            status = error_set(err, HEARTH_EFORMAT,
                               "%s: token %" PRIu64 ": an id below %u wanted, %d found",
                               stream->path, i, session->world.shape->vocab_size, id);
        }
    }
    return status;
}

static int
check_digest(struct stream *stream, struct hearth_error *err)
{
    unsigned char wanted[SHA256_DIGEST_LENGTH];
    unsigned char found[SHA256_DIGEST_LENGTH];
    SHA256Final(found, &stream->digest);
    if (fread(wanted, 1, sizeof wanted, stream->file) != sizeof wanted) {
        return error_set_errno(err, HEARTH_EIO, "%s", stream->path);
    }
    if (memcmp(wanted, found, sizeof wanted) != 0) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s: contents that match their checksum wanted, damage found", stream->path);
    }
    return HEARTH_OK;
}

static int
load_stream(const struct session_world *world, struct stream *stream, uint64_t max_tokens,
            struct session **ret_session, struct hearth_error *err)
{
    unsigned char header[SNAPSHOT_HEADER_BYTES];
    struct stat facts;
    struct session *session = NULL;
    uint64_t length = 0;
    if (fstat(fileno(stream->file), &facts) != 0) {
        return error_set_errno(err, HEARTH_EIO, "%s", stream->path);
    }
    if (!S_ISREG(facts.st_mode) || (uint64_t)facts.st_size < sizeof header) {
        return error_set(err, HEARTH_EFORMAT, "%s: a hearth session wanted, something else found",
                         stream->path);
    }
    SHA256Init(&stream->digest);
    int status = stream_read(stream, header, sizeof header, err);
    if (status == HEARTH_OK) {
        status = check_header(stream, world, header, (uint64_t)facts.st_size, max_tokens, &length,
                              err);
    }
    if (status == HEARTH_OK) {
        status = session_new(world, max_tokens, &session, err);
    }
    if (status == HEARTH_OK) {
        status = load_ids(session, length, stream, err);
    }
    if (status == HEARTH_OK) {
        status = pass_layers(session, length, false, stream, err);
    }
    if (status == HEARTH_OK) {
        status = check_digest(stream, err);
    }
    if (status < 0) {
        session_free(session);
        return status;
    }
    session->length = length;
    session->covered = length;
    *ret_session = session;
    return HEARTH_OK;
}

int
session_load(const struct session_world *world, const char *path, uint64_t max_tokens,
             struct session **ret_session, struct hearth_error *err)
{
    struct stream stream = {.path = path, .piece = malloc(SESSION_PIECE_BYTES)};
    if (!stream.piece) {
        return error_no_memory(err, path);
    }
    int status = HEARTH_OK;
    stream.file = fopen(path, "rb");
    if (!stream.file) {
        status = error_set_errno(err, HEARTH_EIO, "%s", path);
        goto fail_open;
    }
    status = load_stream(world, &stream, max_tokens, ret_session, err);
    fclose(stream.file);
fail_open:
    free(stream.piece);
    return status;
}
