/* keep.c - which weights of a device go into its file, and the first start, which packs them there. */
#include <config.h>

#include <errno.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "core/weights/cache.h"
#include "core/weights/weights_internal.h"

_Static_assert(sizeof((struct hearth_device_info){0}.packed_layout) == CACHE_LAYOUT_BYTES, "a layout fits the head");

static bool
is_kept(const struct weight_item *item, uint32_t device)
{
    return item->device == device && item->packed_bytes > 0;
}

static void
digest_u64(SHA2_CTX *digest, uint64_t value)
{
    unsigned char bytes[8];
    write_le64(bytes, value);
    SHA256Update(digest, bytes, sizeof bytes);
}

/* Gives every kept weight its place. */
static void
lay_out(const struct weights *weights, uint32_t device, const struct weight_list *list,
        struct cache_content *ret_content)
{
    const struct plugin_device *where = weights->devices[device];
    struct cache_content content = {.size_bytes = CACHE_HEAD_BYTES};
    SHA2_CTX digest;
    snprintf(content.layout, sizeof content.layout, "%s", where->info.packed_layout);
    SHA256Init(&digest);
    SHA256Update(&digest, model_source(weights->model), SHA256_DIGEST_LENGTH);
    SHA256Update(&digest, (const unsigned char *)where->plugin->name, strlen(where->plugin->name) + 1);
    SHA256Update(&digest, (const unsigned char *)content.layout, sizeof content.layout);
    for (size_t i = 0; i < list->n_items; i++) {
        struct weight_item *item = &list->items[i];
        if (!is_kept(item, device)) {
            continue;
        }
        item->offset = content.size_bytes;
        content.size_bytes = round_up(item->offset + item->packed_bytes, CACHE_ALIGN);
        content.n_weights++;
        digest_u64(&digest, item->row);
        digest_u64(&digest, item->part);
        digest_u64(&digest, item->expert);
        digest_u64(&digest, item->offset);
        digest_u64(&digest, item->packed_bytes);
    }
    SHA256Final(content.key, &digest);
    *ret_content = content;
}

/* One file for each checkpoint, by what its headers say, and device: what is out of date is replaced, not left behind.
 */
static char *
file_path(const struct weights *weights, uint32_t device, const char *folder)
{
    const unsigned char *identity = model_identity(weights->model);
    struct text path = {0};
    text_printf(&path, "%s/weights-", folder);
    for (int i = 0; i < 8; i++) {
        text_printf(&path, "%02x", identity[i]);
    }
    text_printf(&path, "-%s-%u.packed", weights->devices[device]->plugin->name, device);
    return text_take(&path);
}

static int
pack_item(struct weights *weights, const struct weight_item *item, const struct cache_draft *draft,
          struct hearth_error *err)
{
    const struct plugin_device *device = weights->devices[item->device];
    char name[WEIGHT_NAME_BYTES];
    struct hearth_error reason = {0};
    int status = weight_item_check(weights, item, err);
    if (status < 0) {
        return status;
    }
    status = device->plugin->weight_pack(device->device, item->role, item->matrices, item->n_matrices,
                                         draft->bytes + item->offset, &reason);
    if (status < 0) {
        return error_set(err, status, "%s: device %s: %s", weight_item_name(weights, item, name), device->info.name,
                         reason.text[0] ? reason.text : hearth_status_name(status));
    }
    cache_written(draft, item->offset, item->packed_bytes);
    for (size_t i = 0; i < item->n_matrices; i++) {
        model_release(weights->model, &item->matrices[i]);
    }
    return HEARTH_OK;
}

static int
pack_file(struct weights *weights, uint32_t device, const struct weight_list *list, const char *path,
          const struct cache_content *content, const struct hearth_progress *progress, struct hearth_error *err)
{
    struct load load = {.progress = progress, .phase = "packing"};
    struct cache_draft draft;
    int status = cache_begin(path, content, &draft, err);
    if (status < 0) {
        return status;
    }
    for (size_t i = 0; i < list->n_items; i++) {
        load.total_bytes +=
            is_kept(&list->items[i], device) ? matrix_bytes(list->items[i].matrices, list->items[i].n_matrices) : 0;
    }
    for (size_t i = 0; i < list->n_items && status == HEARTH_OK; i++) {
        const struct weight_item *item = &list->items[i];
        if (!is_kept(item, device)) {
            continue;
        }
        weight_list_expect(weights, list, i + 1);
        status = pack_item(weights, item, &draft, err);
        status = status < 0 ? status : load_advance(&load, matrix_bytes(item->matrices, item->n_matrices), err);
    }
    if (status < 0) {
        cache_drop(&draft);
        return status;
    }
    return cache_finish(&draft, content, progress, err);
}

/* A file that is there and cannot be read stays as it is: what hinders may pass.  reason: not NULL */
static int
map_or_pack(struct weights *weights, uint32_t device, const struct weight_list *list, const char *path,
            const struct cache_content *content, const struct hearth_progress *progress, struct hearth_error *reason)
{
    struct mapped_file *file = &weights->caches[device];
    int status = cache_map(path, content, file, reason);
    if (status == HEARTH_EFORMAT) {
        log_line(HEARTH_LOG_INFO, "%s; packed anew", reason->text);
    } else if (status == HEARTH_OK || reason->native != ENOENT) {
        weights->facts.mapped_bytes += file->size;
        return status;
    }
    status = pack_file(weights, device, list, path, content, progress, reason);
    if (status == HEARTH_OK) {
        status = cache_map(path, content, file, reason);
        weights->facts.packed_bytes += file->size;
    } else if (reason->native == EWOULDBLOCK && cache_map(path, content, file, NULL) == HEARTH_OK) {
        weights->facts.mapped_bytes += file->size; /* another process was done in this moment */
        status = HEARTH_OK;
    }
    return status;
}

int
weights_keep(struct weights *weights, uint32_t device, const struct weight_list *list, const char *folder,
             const struct hearth_progress *progress, struct hearth_error *err)
{
    struct cache_content content;
    struct hearth_error reason = {0};
    lay_out(weights, device, list, &content);
    if (content.n_weights == 0) {
        return HEARTH_OK;
    }
    char *path = file_path(weights, device, folder);
    if (!path) {
        return error_no_memory(err, "a path");
    }
    const int status = map_or_pack(weights, device, list, path, &content, progress, &reason);
    free(path);
    if (status == HEARTH_EINTERRUPTED) {
        return error_set(err, status, "%s", reason.text);
    }
    if (status < 0) {
        log_line(reason.native == EWOULDBLOCK ? HEARTH_LOG_INFO : HEARTH_LOG_WARNING,
                 "weights are not kept (cache.weights): %s", reason.text);
    }
    return HEARTH_OK;
}
