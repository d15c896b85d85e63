/* partial.c - a plugin that stands for an accelerator with gaps: hearth-partial.so computes with
 * backends/ref, but its memory is not the host's, its view offsets are aligned, fresh buffers hold
 * NaN, and its options say what it lacks:
 *
 *   lacks         names of operations, separated by '|'; "all-but:" in front turns the list round
 *   memory_bytes  what it claims to have; default: unknown
 *   devices       how many of it there are; default: 1
 *   align_bytes   of view offsets; default: coarser than one token's streams in the golden cases, so that neither a
 *                 head can begin at any token nor an expert's slot be a view
 *   host          "yes": its memory is the host's after all
 *   fault         CALL:N:END: at the N-th CALL (open, alloc, write, read, weight, submit, wait, refill) the device
 *                 is `lost`, `hang`s, `breaks` or has no `memory`, for good; or it has a `shortage`, and goes on.  A
 *                 submission that hangs is accepted, and nothing behind it ends.  Whoever asks again after the end,
 *                 other than to free things, is named in the log; so is, at stop, how often each call was made
 *   victim        the index of the one device to which that happens, and whose calls are counted; default: all
 *   spoils        names an operation whose first output it spoils: rmsnorm or expert_ffn
 *   packs         right or wrong: it packs weights ahead, one behind the other as they are, or with one bit of each
 *                 spoilt
 *
 * Compiled three times: as a plugin of this minor; as hearth-partial-older.so, of minor 0, whose table ends where that
 * minor's ended; and as hearth-partial-newer.so, whose table has more than this minor knows.
 *
 * Lacking all but expert_ffn it refuses every other weight, as a device with that one kernel does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/ref/ref.h"

#define DEFAULT_ALIGN 1024

/* What the plugin's minor knows of enum hearth_weight_role. */
#ifdef PARTIAL_OLDER
#define PARTIAL_LAST_ROLE HEARTH_WEIGHT_SHARED
#else
#define PARTIAL_LAST_ROLE HEARTH_WEIGHT_HEAD
#endif

enum call { CALL_OPEN, CALL_ALLOC, CALL_WRITE, CALL_READ, CALL_WEIGHT, CALL_SUBMIT, CALL_WAIT, CALL_REFILL, N_CALLS };

static const char *const call_names[N_CALLS] = {"open", "alloc", "write", "read", "weight", "submit", "wait", "refill"};

static const struct {
    const char *name, *line;
    int status;
    bool goes_on;
} ends[] = {
    {"lost", "fell off the bus", HEARTH_ELOST, false},   {"hang", "no answer", HEARTH_ETIMEOUT, false},
    {"breaks", "broke", HEARTH_EDEVICE, false},          {"memory", "no memory left", HEARTH_EMEMORY, false},
    {"shortage", "no memory now", HEARTH_EMEMORY, true},
};

#define N_ENDS (sizeof ends / sizeof ends[0])

static struct {
    const struct hearth_host *host;
    bool lacks[HEARTH_N_OPS];
    bool only_experts;
    const char *spoils; /* or NULL */
    const char *packs;  /* or NULL */
    uint64_t memory_bytes, align_bytes;
    bool is_host;
    unsigned long n_calls[N_CALLS];
    unsigned long fault_at; /* 0: never */
    enum call fault_call;
    size_t fault_end; /* of ends */
    bool is_hung, is_gone;
    uint32_t n_devices;
    const char *victim;                 /* index, or NULL: all are */
    const struct hearth_device *opened; /* the victim; NULL: not opened yet */
} partial;

static const char *const op_names[HEARTH_N_OPS] = {
#define HEARTH_OP(NAME, name) [HEARTH_OP_##NAME] = #name,
#include <hearth/ops.def>
#undef HEARTH_OP
};

static bool
list_has(const char *list, const char *name)
{
    const size_t length = strlen(name);
    for (const char *item = list; item; item = strchr(item, '|')) {
        item += *item == '|';
        if (strncmp(item, name, length) == 0 && (item[length] == '|' || item[length] == '\0')) {
            return true;
        }
    }
    return false;
}

/* CALL:N:END */
static int
read_fault(const char *text, struct hearth_error *err)
{
    char call[16] = "", end[16] = "";
    if (!text) {
        return 0;
    }
    const int n = sscanf(text, "%15[a-z]:%lu:%15[a-z]", call, &partial.fault_at, end);
    partial.fault_call = N_CALLS;
    partial.fault_end = N_ENDS;
    for (int i = 0; i < N_CALLS; i++) {
        partial.fault_call = strcmp(call, call_names[i]) == 0 ? (enum call)i : partial.fault_call;
    }
    for (size_t i = 0; i < N_ENDS; i++) {
        partial.fault_end = strcmp(end, ends[i].name) == 0 ? i : partial.fault_end;
    }
    return n == 3 && partial.fault_call < N_CALLS && partial.fault_end < N_ENDS
               ? 0
               : host_error(err, HEARTH_ECONFIG, 0, "option fault: CALL:N:END wanted, \"%s\" found", text);
}

static int
end_now(struct hearth_error *err)
{
    partial.is_gone = !ends[partial.fault_end].goes_on;
    return host_error(err, ends[partial.fault_end].status, 0, "%s", ends[partial.fault_end].line);
}

static bool
is_spared(const struct hearth_device *device)
{
    return partial.victim && device != partial.opened;
}

/* Counts the call, and fails it if its time has come. */
static int
count(const struct hearth_device *device, enum call call, struct hearth_error *err)
{
    char line[64];
    if (is_spared(device)) {
        return 0;
    }
    partial.n_calls[call]++;
    if (partial.is_gone) {
        snprintf(line, sizeof line, "asked again after the end: %s", call_names[call]);
        partial.host->log(partial.host->context, HEARTH_LOG_ERROR, line);
        return end_now(err);
    }
    if (partial.is_hung && call != CALL_SUBMIT && call != CALL_ALLOC && call != CALL_WEIGHT) {
        return end_now(err);
    }
    if (call != partial.fault_call || partial.n_calls[call] != partial.fault_at) {
        return 0;
    }
    partial.is_hung = call == CALL_SUBMIT && ends[partial.fault_end].status == HEARTH_ETIMEOUT;
    return partial.is_hung ? 0 : end_now(err);
}

static int
partial_start(const struct hearth_host *host, uint32_t *ret_n_devices, struct hearth_error *err)
{
    static const char all_but[] = "all-but:";
    const char *lacks = host->option(host->context, "lacks");
    const char *memory = host->option(host->context, "memory_bytes");
    const char *devices = host->option(host->context, "devices");
    const char *align = host->option(host->context, "align_bytes");
    const bool turned = lacks && strncmp(lacks, all_but, strlen(all_but)) == 0;
    for (int op = 0; op < HEARTH_N_OPS; op++) {
        partial.lacks[op] = lacks && list_has(lacks + (turned ? strlen(all_but) : 0), op_names[op]) != turned;
    }
    partial.only_experts = turned && strcmp(lacks + strlen(all_but), "expert_ffn") == 0;
    partial.spoils = host->option(host->context, "spoils");
    partial.packs = host->option(host->context, "packs");
    partial.memory_bytes = memory ? strtoull(memory, NULL, 10) : 0;
    partial.align_bytes = align ? strtoull(align, NULL, 10) : DEFAULT_ALIGN;
    partial.is_host = host->option(host->context, "host") != NULL;
    partial.host = host;
    partial.victim = host->option(host->context, "victim");
    partial.n_devices = devices ? (uint32_t)strtoul(devices, NULL, 10) : 1;
    int status = read_fault(host->option(host->context, "fault"), err);
    status = status < 0 ? status : ref_start(host, ret_n_devices, err);
    if (status == 0) {
        *ret_n_devices = partial.n_devices;
    }
    return status;
}

static void
partial_stop(void)
{
    char line[256] = "calls:";
    for (int i = 0; i < N_CALLS; i++) {
        const size_t length = strlen(line);
        snprintf(line + length, sizeof line - length, " %s=%lu", call_names[i], partial.n_calls[i]);
    }
    partial.host->log(partial.host->context, HEARTH_LOG_INFO, line);
    memset(&partial, 0, sizeof partial);
    ref_stop();
}

static int
partial_open(uint32_t index, struct hearth_device **ret_device, struct hearth_error *err)
{
    const bool spared = partial.victim && strtoul(partial.victim, NULL, 10) != index;
    int status = spared ? 0 : count(partial.opened, CALL_OPEN, err);
    status = status < 0 ? status : ref_open(0, ret_device, err);
    if (status == 0 && !spared) {
        partial.opened = *ret_device;
    }
    return status;
}

static int
partial_describe(uint32_t index, struct hearth_device_info *info, struct hearth_error *err)
{
    const int status = ref_describe(index < partial.n_devices ? 0 : index, info, err);
    if (status < 0) {
        return status;
    }
    info->flags = HEARTH_DEVICE_MAPS_WEIGHTS | (partial.is_host ? HEARTH_DEVICE_HOST_MEMORY : 0u);
    info->memory_bytes = partial.memory_bytes;
    info->align_bytes = partial.align_bytes;
    snprintf(info->packed_layout, sizeof info->packed_layout, "%s", partial.packs ? "partial-1" : "");
    snprintf(info->name, sizeof info->name, "partial device");
    return 0;
}

static int
partial_buffer_alloc(struct hearth_device *device, uint64_t size, struct hearth_buffer **ret_buffer,
                     struct hearth_error *err)
{
    int status = count(device, CALL_ALLOC, err);
    if (status == 0) {
        status = host_buffer_alloc(device, size, ret_buffer, err);
    }
    if (status == 0) {
        memset((*ret_buffer)->bytes, 0xFF, (*ret_buffer)->size); /* NaN in every float that nobody wrote */
    }
    return status;
}

static int
check_view(const struct hearth_view *view, struct hearth_error *err)
{
    if (view->offset % partial.align_bytes != 0) {
        return host_error(err, HEARTH_EINTERNAL, 0, "a view at a multiple of %llu wanted, %llu found",
                          (unsigned long long)partial.align_bytes, (unsigned long long)view->offset);
    }
    return 0;
}

static int
partial_buffer_write(struct hearth_device *device, struct hearth_view dst, const void *src, uint64_t size,
                     struct hearth_event **ret_event, struct hearth_error *err)
{
    int status = check_view(&dst, err);
    if (status == 0) {
        status = count(device, CALL_WRITE, err);
    }
    return status < 0 ? status : host_buffer_write(device, dst, src, size, ret_event, err);
}

static int
partial_buffer_read(struct hearth_device *device, void *dst, struct hearth_view src, uint64_t size,
                    struct hearth_event **ret_event, struct hearth_error *err)
{
    int status = check_view(&src, err);
    if (status == 0) {
        status = count(device, CALL_READ, err);
    }
    return status < 0 ? status : host_buffer_read(device, dst, src, size, ret_event, err);
}

static int
partial_weight_create(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                      size_t n_matrices, struct hearth_weight **ret_weight, struct hearth_error *err)
{
    if ((partial.only_experts && role != HEARTH_WEIGHT_EXPERT) || role > PARTIAL_LAST_ROLE) {
        return host_error(err, HEARTH_EUNSUPPORTED, 0, "role %d was not expected", (int)role);
    }
    const int status = count(device, CALL_WEIGHT, err);
    return status < 0 ? status : ref_weight_create(device, role, matrices, n_matrices, ret_weight, err);
}

static void
partial_weight_free(struct hearth_device *device, struct hearth_weight *weight)
{
    if (weight) {
        free(weight->owned);
        ref_weight_free(device, weight);
    }
}

#if !defined PARTIAL_OLDER && !defined PARTIAL_NEWER
/* The weight's matrices, which were its maker's, become its own. */
static int
partial_weight_refill(struct hearth_device *device, struct hearth_weight *weight,
                      int (*source)(void *context, size_t index, void *data, void *scales, struct hearth_error *err),
                      void *context, struct hearth_error *err)
{
    uint64_t bytes[3][2], size = 0;
    (void)device;
    for (size_t i = 0; i < 3; i++) {
        const struct host_matrix *m = &weight->matrices[i];
        host_matrix_bytes(&(struct hearth_matrix){.dtype = m->dtype, .rows = m->rows, .cols = m->cols}, &bytes[i][0],
                          &bytes[i][1]);
        size += bytes[i][0] + bytes[i][1];
    }
    unsigned char *at = weight->owned ? weight->owned : malloc(size);
    int status = count(device, CALL_REFILL, err);
    if (!at) {
        return HEARTH_EMEMORY;
    }
    weight->owned = at;
    for (size_t i = 0; i < 3 && status == 0; i++) {
        status = source(context, i, at, bytes[i][1] > 0 ? at + bytes[i][0] : NULL, err);
        weight->matrices[i].data = at;
        weight->matrices[i].scales = bytes[i][1] > 0 ? at + bytes[i][0] : NULL;
        at += bytes[i][0] + bytes[i][1];
    }
    return status;
}

static uint64_t
packed_size(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static int
partial_packed_bytes(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                     size_t n_matrices, uint64_t *ret_bytes, struct hearth_error *err)
{
    uint64_t size = 0;
    (void)device;
    (void)err;
    for (size_t i = 0; role != HEARTH_WEIGHT_VECTOR && i < n_matrices; i++) {
        size += packed_size(matrices[i].data_bytes) + packed_size(matrices[i].scales_bytes);
    }
    *ret_bytes = size;
    return 0;
}

static int
partial_weight_pack(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                    size_t n_matrices, void *dst, struct hearth_error *err)
{
    unsigned char *at = dst;
    uint64_t size = 0;
    (void)partial_packed_bytes(device, role, matrices, n_matrices, &size, err);
    memset(dst, 0, size);
    for (size_t i = 0; i < n_matrices; i++) {
        memcpy(at, matrices[i].data, matrices[i].data_bytes);
        at += packed_size(matrices[i].data_bytes);
        if (matrices[i].scales) {
            memcpy(at, matrices[i].scales, matrices[i].scales_bytes);
            at += packed_size(matrices[i].scales_bytes);
        }
    }
    *(unsigned char *)dst ^= strcmp(partial.packs, "wrong") == 0;
    return 0;
}

static int
partial_weight_map(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                   size_t n_matrices, const void *packed, struct hearth_weight **ret_weight, struct hearth_error *err)
{
    const unsigned char *at = packed;
    struct hearth_matrix mapped[HOST_MAX_MATRICES];
    for (size_t i = 0; i < n_matrices && i < HOST_MAX_MATRICES; i++) {
        mapped[i] = matrices[i];
        mapped[i].data = at;
        at += packed_size(matrices[i].data_bytes);
        mapped[i].scales = matrices[i].scales ? at : NULL;
        at += packed_size(matrices[i].scales_bytes);
    }
    return partial_weight_create(device, role, mapped, n_matrices, ret_weight, err);
}
#endif

/* One element of the command's output, one step away. */
static void
spoil(const struct hearth_command *command)
{
    if (partial.spoils && strcmp(partial.spoils, op_names[command->op]) == 0) {
        const struct hearth_view *view =
            command->op == HEARTH_OP_RMSNORM ? &command->args.rmsnorm.y : &command->args.expert_ffn.y;
        view->buffer->bytes[view->offset + 2] ^= 1; /* of a little-endian f32: the last bit of its bf16 */
    }
}

static bool
partial_supports(const struct hearth_device *device, uint32_t op, uint32_t numerics)
{
    return ref_supports(device, op, numerics) && !partial.lacks[op];
}

static int
partial_submit(struct hearth_device *device, const struct hearth_command *commands, size_t n_commands,
               struct hearth_event *const *waits, size_t n_waits, struct hearth_event **ret_event,
               struct hearth_error *err)
{
    const int here = count(device, CALL_SUBMIT, err);
    if (here < 0 || (partial.is_hung && !is_spared(device))) {
        return here < 0 || !ret_event ? here : ref_submit(device, commands, 0, waits, n_waits, ret_event, err);
    }
    for (size_t i = 0; i < n_commands; i++) {
        if (partial.lacks[commands[i].op]) {
            return host_error(err, HEARTH_EUNSUPPORTED, 0, "%s was never promised", op_names[commands[i].op]);
        }
        if (commands[i].op == HEARTH_OP_MHC_HEAD) { /* the one command whose view begins inside a tensor */
            const int status = check_view(&commands[i].args.mhc_head.streams, err);
            if (status < 0) {
                return status;
            }
        }
    }
    const int status = ref_submit(device, commands, n_commands, waits, n_waits, ret_event, err);
    for (size_t i = 0; status == 0 && i < n_commands; i++) {
        spoil(&commands[i]);
    }
    return status;
}

static int
partial_event_wait(struct hearth_device *device, struct hearth_event *event, uint64_t timeout_ns,
                   struct hearth_error *err)
{
    const int status = count(device, CALL_WAIT, err);
    return status < 0 ? status : host_event_wait(device, event, timeout_ns, err);
}

/* The members that every minor has, in the order of minor 0. */
#define PARTIAL_MEMBERS                                                                                                \
    .start = partial_start, .stop = partial_stop, .describe = partial_describe, .open = partial_open,                  \
    .close = ref_close, .buffer_alloc = partial_buffer_alloc, .buffer_free = host_buffer_free,                         \
    .buffer_write = partial_buffer_write, .buffer_read = partial_buffer_read, .buffer_host = host_buffer_host,         \
    .weight_create = partial_weight_create, .weight_free = partial_weight_free,                                        \
    .supports = partial_supports, .submit = partial_submit, .event_wait = partial_event_wait,                          \
    .event_free = host_event_free

#if defined PARTIAL_OLDER
/* Minor 0's table, word for word, and behind it what no reader of struct_size ever sees. */
struct partial_table {
    struct {
        uint32_t abi, struct_size;
        const char *name, *version;
        int (*start)(const struct hearth_host *, uint32_t *, struct hearth_error *);
        void (*stop)(void);
        int (*describe)(uint32_t, struct hearth_device_info *, struct hearth_error *);
        int (*open)(uint32_t, struct hearth_device **, struct hearth_error *);
        void (*close)(struct hearth_device *);
        int (*buffer_alloc)(struct hearth_device *, uint64_t, struct hearth_buffer **, struct hearth_error *);
        void (*buffer_free)(struct hearth_device *, struct hearth_buffer *);
        int (*buffer_write)(struct hearth_device *, struct hearth_view, const void *, uint64_t, struct hearth_event **,
                            struct hearth_error *);
        int (*buffer_read)(struct hearth_device *, void *, struct hearth_view, uint64_t, struct hearth_event **,
                           struct hearth_error *);
        void *(*buffer_host)(struct hearth_device *, struct hearth_buffer *);
        int (*weight_create)(struct hearth_device *, enum hearth_weight_role, const struct hearth_matrix *, size_t,
                             struct hearth_weight **, struct hearth_error *);
        void (*weight_free)(struct hearth_device *, struct hearth_weight *);
        bool (*supports)(const struct hearth_device *, uint32_t, uint32_t);
        int (*submit)(struct hearth_device *, const struct hearth_command *, size_t, struct hearth_event *const *,
                      size_t, struct hearth_event **, struct hearth_error *);
        int (*event_wait)(struct hearth_device *, struct hearth_event *, uint64_t, struct hearth_error *);
        void (*event_free)(struct hearth_device *, struct hearth_event *);
    } plugin;
    uint64_t poison[16];
};

extern const struct partial_table hearth_plugin_partial_older;

const struct partial_table hearth_plugin_partial_older = {
    .plugin = {.abi = HEARTH_PLUGIN_ABI_MAJOR << 16 | 0u,
               .struct_size = sizeof hearth_plugin_partial_older.plugin,
               .name = "partial-older",
               .version = "1",
               PARTIAL_MEMBERS},
    .poison = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
};
#elif defined PARTIAL_NEWER
struct partial_table {
    struct hearth_plugin plugin;
    uint64_t added_later[16];
};

extern const struct partial_table hearth_plugin_partial_newer;

const struct partial_table hearth_plugin_partial_newer = {
    .plugin = {.abi = HEARTH_PLUGIN_ABI + 1,
               .struct_size = sizeof(struct partial_table),
               .name = "partial-newer",
               .version = "1",
               PARTIAL_MEMBERS},
    .added_later = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
};
#else
extern const struct hearth_plugin hearth_plugin_partial;

const struct hearth_plugin hearth_plugin_partial = {.abi = HEARTH_PLUGIN_ABI,
                                                    .struct_size = sizeof(struct hearth_plugin),
                                                    .name = "partial",
                                                    .version = "1",
                                                    PARTIAL_MEMBERS,
                                                    .packed_bytes = partial_packed_bytes,
                                                    .weight_pack = partial_weight_pack,
                                                    .weight_map = partial_weight_map,
                                                    .weight_refill = partial_weight_refill};
#endif
