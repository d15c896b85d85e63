/* hearth/plugin.h - the whole contract between hearth and a backend plugin, ABI version 1.
 *
 * hearth-<name>.so exports ONE data symbol, `hearth_plugin_<name>` ('-' in the name becomes '_'), a struct
 * hearth_plugin.  The loader reads abi and struct_size before it runs any code of the plugin: another major is refused;
 * with another minor both sides use the members that both know (struct_size says which exist).  The plugin links to
 * nothing of hearth; what it may ask of the program is lent in struct hearth_host.
 *
 * Calls return 0 or a negative HEARTH_E* code (status.h); then err, which may be NULL, says why in one line, and ret_*
 * parameters are untouched.  Strings are UTF-8.  Sizes are bytes.
 *
 * A plugin may implement any subset of the operations: `supports` says which; the host does the rest.
 *
 * A device may fail.  After EDEVICE, ELOST, ETIMEOUT or EMEMORY the program may give it up and let the host do its
 * work: it then frees events, buffers and weights of the device, closes it at the end, and calls nothing else.  Those
 * calls must come back though work of the device may never end, and memory that such work still uses stays.  Once a
 * copy has failed, nobody touches the caller's memory any more. */
#ifndef HEARTH_PLUGIN_H
#define HEARTH_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hearth/command.h>
#include <hearth/dtype.h>
#include <hearth/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HEARTH_PLUGIN_ABI_MAJOR 1u
#define HEARTH_PLUGIN_ABI_MINOR 4u
#define HEARTH_PLUGIN_ABI (HEARTH_PLUGIN_ABI_MAJOR << 16 | HEARTH_PLUGIN_ABI_MINOR)

struct hearth_device; /* an open device; the plugin's own */
struct hearth_event;  /* the completion of a submission; the plugin's own */

enum hearth_log_level { HEARTH_LOG_ERROR = 0, HEARTH_LOG_WARNING, HEARTH_LOG_INFO, HEARTH_LOG_DEBUG };

/* Services lent to the plugin.  Valid from start until stop returns.  Thread: any. */
struct hearth_host {
    uint32_t struct_size;
    void *context; /* first argument of every call below */
    void (*log)(void *context, int level, const char *text);
    /* The configuration's plugin option `key` of this plugin, or NULL.  Borrowed; valid until stop. */
    const char *(*option)(void *context, const char *key);
};

/* What a device is able to do beyond the operations. */
enum hearth_device_flags {
    /* buffer_host works: buffers are ordinary memory of this process */
    HEARTH_DEVICE_HOST_MEMORY = 1u << 0,
    /* weight_create may keep reading the caller's bytes, which then outlive the weight */
    HEARTH_DEVICE_MAPS_WEIGHTS = 1u << 1,
    /* submit returns before the work is done */
    HEARTH_DEVICE_ASYNC = 1u << 2
};

#define HEARTH_DEVICE_NAME_BYTES 128

struct hearth_device_info {
    uint32_t struct_size;                       /* set by the caller; the plugin fills what fits */
    uint32_t flags;                             /* enum hearth_device_flags */
    char name[HEARTH_DEVICE_NAME_BYTES];
    char pci_address[32];                       /* "0000:01:00.0", or empty: on the host */
    uint64_t memory_bytes;                      /* memory the device can give to buffers and weights; 0 = unknown */
    uint64_t max_buffer_bytes;                  /* largest buffer_alloc; 0 = no limit but memory */
    uint64_t align_bytes;                       /* view offsets must be multiples of this; a power of two */
    double read_bytes_per_second;               /* 0 = unknown */
    /* Since 1.1.  Which layout weight_pack writes: backend, version of the layout, what of the machine it depends on
     * ("cpu-2").  A device with the same text here maps what another wrote.  Empty: weights are not packed ahead. */
    char packed_layout[64];
    /* Since 1.2, for people: what drives the device, with versions, and what it has, in words between commas ("GPU,
     * fp16, 64 KiB local memory").  Empty: nothing to say. */
    char driver[64];
    char features[192];
};

/* Since 1.1.  What the device can do at best, measured when asked: the roof that benchmarks put figures beside. */
struct hearth_roof {
    uint32_t struct_size;                /* set by the caller; the plugin fills what fits */
    uint32_t reserved;                   /* 0 */
    double read_bytes_per_second;        /* all of the device reading memory that no cache holds */
    double operations_per_second;        /* the dot product that quantised products use, operands in registers; a
                                          * multiplication and an addition are two operations; 0 = unknown */
    double exact_operations_per_second;  /* the same of f32 products */
    char operation[32];                  /* the instruction or method behind operations_per_second: "vpdpbusd" */
    /* Since 1.3, of devices that are given work piece by piece. */
    double launch_seconds; /* of a piece that does nothing, one after the other; 0 = unknown, or no pieces */
    uint64_t n_launches;   /* since the device was opened, but for those of measurements */
};

/* One matrix in canonical layout: rows x cols, row-major, contiguous.  A vector has rows = 1.
 * E4M3: scales are E8M0 [ceil(rows/128)][ceil(cols/128)], each times a 128 x 128 tile.
 * E2M1X2: data is [rows][cols/2] bytes; scales are E8M0 [rows][ceil(cols/32)].  Other types have no scales. */
struct hearth_matrix {
    uint32_t dtype;       /* enum hearth_dtype */
    uint32_t reserved;    /* 0 */
    uint64_t rows, cols;  /* in elements (an E2M1X2 byte is two) */
    const void *data;     /* no alignment beyond the element's is promised */
    const void *scales;   /* NULL: none */
    uint64_t data_bytes, scales_bytes;
};

/* What a weight is for, so that the backend can choose a layout. */
enum hearth_weight_role {
    HEARTH_WEIGHT_VECTOR = 0, /* norms, base, scale, sinks, bias, inv_freq, ape: read element by element */
    HEARTH_WEIGHT_LINEAR,     /* linear, mhc fn, router gate, head */
    HEARTH_WEIGHT_GROUPS,     /* output_groups */
    HEARTH_WEIGHT_EMBEDDING,  /* rows looked up */
    HEARTH_WEIGHT_TABLE,      /* the hash router's i64 table */
    HEARTH_WEIGHT_EXPERT,     /* three matrices: w1 (gate), w3 (up) [inner][dim], w2 (down) [dim][inner] */
    HEARTH_WEIGHT_SHARED,     /* the same three, of the shared expert */
    HEARTH_WEIGHT_HEAD        /* since 1.1 (an older plugin is given LINEAR): the linear that makes the logits; a
                               * backend may keep it in fewer bits when its options ask for that */
};

struct hearth_plugin {
    uint32_t abi;         /* HEARTH_PLUGIN_ABI */
    uint32_t struct_size; /* sizeof(struct hearth_plugin) when the plugin was compiled */
    const char *name;     /* equals <name> of the file */
    const char *version;

    /* Life.  Thread: main, one call at a time. */

    /* Finds the devices; n may be 0.  host stays valid until stop.  Called once in a process, before anything else,
     * however many engines then open devices. */
    int (*start)(const struct hearth_host *host, uint32_t *ret_n_devices, struct hearth_error *err);
    /* Joins every thread the plugin made; after it nothing of the plugin runs.  Every device is closed by then. */
    void (*stop)(void);
    /* Properties of device `index`, before it is opened.  Errors: EDEVICE. */
    int (*describe)(uint32_t index, struct hearth_device_info *info, struct hearth_error *err);
    /* Owner: the caller; closed with close.  Errors: EDEVICE, EMEMORY. */
    int (*open)(uint32_t index, struct hearth_device **ret_device, struct hearth_error *err);
    void (*close)(struct hearth_device *device); /* NULL allowed */

    /* Memory.  Thread: any, but not two calls on one buffer at once. */

    /* A buffer of size bytes, contents undefined.  Errors: EMEMORY.  Owner: the caller, who frees it before close. */
    int (*buffer_alloc)(struct hearth_device *device, uint64_t size, struct hearth_buffer **ret_buffer,
                        struct hearth_error *err);
    void (*buffer_free)(struct hearth_device *device, struct hearth_buffer *buffer); /* NULL allowed */
    /* Copies size bytes to or from the device after every earlier submission that was made to it.  With ret_event NULL
     * the call returns when the copy is done; else it may return early, and the host memory stays untouched until the
     * event. */
    int (*buffer_write)(struct hearth_device *device, struct hearth_view dst, const void *src, uint64_t size,
                        struct hearth_event **ret_event, struct hearth_error *err);
    int (*buffer_read)(struct hearth_device *device, void *dst, struct hearth_view src, uint64_t size,
                       struct hearth_event **ret_event, struct hearth_error *err);
    /* Optional (NULL unless HEARTH_DEVICE_HOST_MEMORY): the buffer's address in this process. */
    void *(*buffer_host)(struct hearth_device *device, struct hearth_buffer *buffer);

    /* Weights.  Thread: any.  matrices and the bytes they name are the caller's; the device copies or repacks them
     * before the call returns, unless it has HEARTH_DEVICE_MAPS_WEIGHTS.  Errors: EMEMORY, EUNSUPPORTED (dtype or
     * shape). */
    int (*weight_create)(struct hearth_device *device, enum hearth_weight_role role,
                         const struct hearth_matrix *matrices, size_t n_matrices, struct hearth_weight **ret_weight,
                         struct hearth_error *err);
    void (*weight_free)(struct hearth_device *device, struct hearth_weight *weight); /* NULL allowed */

    /* Work.  Thread: one per device. */

    /* Whether the device can do `op` in `numerics`.  Pure: the answer never changes while the device is open. */
    bool (*supports)(const struct hearth_device *device, uint32_t op, uint32_t numerics);
    /* Queues commands; they take effect in order, after the n_waits events (of this device) and after earlier
     * submissions.  The array is the caller's and may go once the call returned.  ret_event may be NULL.  An error of a
     * command shows here or at the event.  Errors: EDEVICE, ELOST, EUNSUPPORTED, EINTERNAL (arguments that break
     * command.h). */
    int (*submit)(struct hearth_device *device, const struct hearth_command *commands, size_t n_commands,
                  struct hearth_event *const *waits, size_t n_waits, struct hearth_event **ret_event,
                  struct hearth_error *err);
    /* Waits until the work behind the event is done and returns how it ended.  timeout_ns UINT64_MAX: for ever.
     * Errors: ETIMEOUT (still running: the program takes it for a device that hangs), EDEVICE, ELOST. */
    int (*event_wait)(struct hearth_device *device, struct hearth_event *event, uint64_t timeout_ns,
                      struct hearth_error *err);
    void (*event_free)(struct hearth_device *device, struct hearth_event *event); /* NULL allowed; does not wait */

    /* Since 1.1.  Each may be NULL. */

    /* Packing ahead, so that the caller can keep packed weights (in a file) and map them the next time: all three calls
     * or none.  Thread: any.  matrices are checked as weight_create checks them; Errors are those of weight_create.
     *
     * Size of the weight's packed form; 0: this one is not worth keeping, create it.  data and scales are not read. */
    int (*packed_bytes)(struct hearth_device *device, enum hearth_weight_role role,
                        const struct hearth_matrix *matrices, size_t n_matrices, uint64_t *ret_bytes,
                        struct hearth_error *err);
    /* Writes the packed form to dst: packed_bytes of them, aligned to 64.  The same matrices give the same bytes. */
    int (*weight_pack)(struct hearth_device *device, enum hearth_weight_role role,
                       const struct hearth_matrix *matrices, size_t n_matrices, void *dst, struct hearth_error *err);
    /* A weight of what weight_pack wrote, which the caller keeps unchanged while the weight lives.  matrices tell types
     * and shapes; data and scales are not read. */
    int (*weight_map)(struct hearth_device *device, enum hearth_weight_role role,
                      const struct hearth_matrix *matrices, size_t n_matrices, const void *packed,
                      struct hearth_weight **ret_weight, struct hearth_error *err);

    /* Measures the device for about `seconds`.  Thread: the device's; nothing else runs on it. */
    int (*measure)(struct hearth_device *device, double seconds, struct hearth_roof *roof, struct hearth_error *err);

    /* Since 1.4.  Each may be NULL.  For experts that live with the host and, for a long prompt, visit a device that
     * computes faster: the one call is the host's, the other the device's. */

    /* Writes matrix `index` of an expert (weight_create with HEARTH_WEIGHT_EXPERT, or weight_map) as it was given:
     * data_bytes to data, scales_bytes to scales, which is NULL if there are none.  Thread: the device's.  Errors:
     * EUNSUPPORTED. */
    int (*weight_read)(struct hearth_device *device, const struct hearth_weight *weight, size_t index, void *data,
                       void *scales, struct hearth_error *err);
    /* Gives an expert other contents of the same types and shapes.  No unfinished submission uses it; later ones see
     * the new contents, and those already submitted may run meanwhile.  `source` is called once for each matrix,
     * before the call returns; what it is given is as large as weight_read wants it.  Thread: the device's.  Errors:
     * those of source, EDEVICE, ELOST; the contents are undefined then. */
    int (*weight_refill)(struct hearth_device *device, struct hearth_weight *weight,
                         int (*source)(void *context, size_t index, void *data, void *scales, struct hearth_error *err),
                         void *context, struct hearth_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
