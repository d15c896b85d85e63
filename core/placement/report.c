/* report.c - a plan told to people: bytes per device, what leaves home, and the rate to expect.
 *
 * Decoding is bytes: seconds per token = sum over devices of (weights read + state read) / bandwidth, one
 * device after the other.  It is a roof, not a promise: arithmetic and launches come on top. */
#include "core/placement/plan_internal.h"

#include "core/base/error.h"
#include "core/base/json.h"

static const char *const kind_names[N_PLAN_BYTES] = {
    [PLAN_EMBEDDING] = "embedding", [PLAN_ATTENTION] = "attention",
    [PLAN_SHARED] = "shared_experts", [PLAN_EXPERTS] = "experts",
    [PLAN_LOANS] = "experts_on_loan",
    [PLAN_STATE] = "state", [PLAN_ACTIVATIONS] = "activations",
};

static const char *const op_names[HEARTH_N_OPS] = {
#define HEARTH_OP(NAME, name) [HEARTH_OP_##NAME] = #name,
#include <hearth/ops.def>
#undef HEARTH_OP
};

/* Bytes of state that the query behind n_tokens reads in one layer: the window, the entries it attends
 * to, and every index key. */
static double
state_read_bytes(const struct plan *plan, uint32_t layer, uint64_t n_tokens)
{
    const struct model_shape *shape = plan->shape;
    const uint64_t window = n_tokens < shape->window ? n_tokens : shape->window;
    uint64_t entries = state_rows(shape, layer, STATE_ENTRIES, &plan->format, n_tokens);
    const uint64_t keys = state_rows(shape, layer, STATE_INDEX_KEYS, &plan->format, n_tokens);
    if (keys > 0 && entries > shape->index_topk) {
        entries = shape->index_topk;
    }
    return (double)((window + entries) * state_row_bytes(shape, layer, STATE_RING, &plan->format) +
                    keys * state_row_bytes(shape, layer, STATE_INDEX_KEYS, &plan->format));
}

double
plan_read_bytes(const struct plan *plan, uint32_t device, uint64_t n_tokens)
{
    double bytes = plan->active_bytes[device];
    for (uint32_t layer = 0; layer < plan->shape->n_layers; layer++) {
        if (plan_state_device(plan, layer) == device) {
            bytes += state_read_bytes(plan, layer, n_tokens);
        }
    }
    return bytes;
}

double
plan_decode_rate(const struct plan *plan, uint64_t n_tokens)
{
    double seconds = 0;
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        const double bytes = plan_read_bytes(plan, i, n_tokens);
        if (bytes > 0 && !(plan->devices[i].read_bytes_per_second > 0)) {
            return 0;
        }
        seconds += bytes > 0 ? bytes / plan->devices[i].read_bytes_per_second : 0;
    }
    return seconds > 0 ? 1.0 / seconds : 0;
}

static void
add_u64(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_uint64(value));
}

/* The first and the last layer of its range; null if it has none. */
static void
add_range(struct json_object *object, const struct plan *plan, uint32_t device)
{
    const uint32_t n_layers = plan->shape->n_layers;
    uint32_t first = 0, end = n_layers;
    while (first < n_layers && plan_layer_device(plan, first) != device) {
        first++;
    }
    while (end > first && plan_layer_device(plan, end - 1) != device) {
        end--;
    }
    json_object_object_add(object, "first_layer", first < end ? json_object_new_int64(first) : NULL);
    json_object_object_add(object, "last_layer", first < end ? json_object_new_int64(end - 1) : NULL);
}

static struct json_object *
report_device(const struct plan *plan, uint32_t device)
{
    const struct plan_device *facts = &plan->devices[device];
    struct json_object *object = json_object_new_object();
    add_u64(object, "device", device);
    json_object_object_add(object, "plugin", json_object_new_string(facts->plugin));
    add_u64(object, "index", facts->index);
    json_object_object_add(object, "name", json_object_new_string(facts->name));
    json_object_object_add(object, "host_memory", json_object_new_boolean(facts->is_host));
    add_u64(object, "memory_bytes", facts->memory_bytes);
    json_object_object_add(object, "read_bytes_per_second",
                           json_object_new_double(facts->read_bytes_per_second));
    add_range(object, plan, device);
    struct json_object *bytes = json_object_new_object();
    uint64_t total = 0;
    for (int kind = 0; kind < N_PLAN_BYTES; kind++) {
        add_u64(bytes, kind_names[kind], plan->bytes[device][kind]);
        total += plan->bytes[device][kind];
    }
    add_u64(bytes, "total", total);
    json_object_object_add(object, "bytes", bytes);
    add_u64(object, "bytes_per_token",
            (uint64_t)plan_read_bytes(plan, device, plan->shape->window));
    return object;
}

/* {"0": 250, "1": 6}: experts per device */
static struct json_object *
report_experts(const struct plan *plan, uint32_t layer)
{
    uint32_t counts[PLAN_MAX_DEVICES] = {0};
    for (uint32_t expert = 0; expert < plan->shape->n_experts; expert++) {
        counts[plan_expert_device(plan, layer, expert)]++;
    }
    struct json_object *array = json_object_new_array();
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        json_object_array_add(array, json_object_new_int64(counts[i]));
    }
    return array;
}

static struct json_object *
report_layer(const struct plan *plan, uint32_t layer)
{
    static const char *const layer_kinds[] = {
        [LAYER_SWA] = "swa", [LAYER_CSA] = "csa", [LAYER_HCA] = "hca"};
    struct json_object *object = json_object_new_object();
    add_u64(object, "layer", layer);
    json_object_object_add(object, "kind",
                           json_object_new_string(layer_kinds[shape_layer_kind(plan->shape, layer)]));
    add_u64(object, "device", plan_layer_device(plan, layer));
    add_u64(object, "state_device", plan_state_device(plan, layer));
    add_u64(object, "state_bytes",
            state_layer_bytes(plan->shape, layer, &plan->format, plan->context_length));
    const uint32_t ops = plan_row_ops(plan->shape, layer) & ~PLAN_OP_BIT(EXPERT_FFN);
    struct json_object *away = json_object_new_object();
    for (uint32_t op = 0; op < HEARTH_N_OPS; op++) {
        const uint32_t device = plan_op_device(plan, layer, (enum hearth_op)op);
        if ((ops >> op & 1u) && device != plan_layer_device(plan, layer)) {
            add_u64(away, op_names[op], device);
        }
    }
    json_object_object_add(object, "away_from_home", away);
    json_object_object_add(object, "experts_per_device", report_experts(plan, layer));
    return object;
}

static struct json_object *
report_expected(const struct plan *plan)
{
    struct json_object *array = json_object_new_array();
    const uint64_t lengths[] = {plan->shape->window, plan->context_length};
    for (size_t i = 0; i < 2; i++) {
        double bytes = 0;
        for (uint32_t device = 0; device < plan->n_devices; device++) {
            bytes += plan_read_bytes(plan, device, lengths[i]);
        }
        struct json_object *object = json_object_new_object();
        add_u64(object, "context", lengths[i]);
        add_u64(object, "bytes_per_token", (uint64_t)bytes);
        json_object_object_add(object, "tokens_per_second",
                               json_object_new_double(plan_decode_rate(plan, lengths[i])));
        json_object_array_add(array, object);
    }
    return array;
}

int
plan_report(const struct plan *plan, struct json_object **ret_report, struct hearth_error *err)
{
    struct json_object *report = json_object_new_object();
    if (!report) {
        return error_no_memory(err, "a report");
    }
    json_object_object_add(
        report, "numerics",
        json_object_new_string(plan->numerics == HEARTH_EXACT ? "exact" : "native"));
    add_u64(report, "context_length", plan->context_length);
    struct json_object *devices = json_object_new_array();
    for (uint32_t i = 0; i < plan->n_devices; i++) {
        if (plan_uses_device(plan, i)) {
            json_object_array_add(devices, report_device(plan, i));
        }
    }
    json_object_object_add(report, "devices", devices);
    struct json_object *layers = json_object_new_array();
    for (uint32_t layer = 0; layer < plan->shape->n_layers; layer++) {
        json_object_array_add(layers, report_layer(plan, layer));
    }
    json_object_object_add(report, "layers", layers);
    json_object_object_add(report, "expected", report_expected(plan));
    *ret_report = report;
    return HEARTH_OK;
}
