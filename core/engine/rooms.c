/* rooms.c - opens topology, plugins, model and plan as the configuration says, and decides which devices
 * the plan may use.
 *
 * The chosen device comes alone if it can do everything and has the memory.  If it is an accelerator without the
 * memory, others join it, one after the other, until there is enough.  Behind them stands, where it is needed, the
 * first other device whose memory is the host's: it does what they lack, and holds experts that do not fit. */
#include <config.h>

#include "core/engine/engine_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"

#define DEFAULT_CONTEXT 32768u
#define DEFAULT_CHUNK 512u
#define BORROWING_CHUNK 2048u /* likewise, of steps that borrow experts */
#define MEASURE_SECONDS 0.2

static bool
is_host_device(const struct plugin_device *device)
{
    return (device->info.flags & HEARTH_DEVICE_HOST_MEMORY) != 0;
}

double
rooms_host_bandwidth(const struct hearth_config *config, const struct topology_facts *facts)
{
    const uint64_t wanted = config_values(config)->cpu.threads;
    const uint32_t n_threads = wanted > 0 ? (uint32_t)wanted : facts->n_threads_allowed;
    double bytes_per_second = 0;
    struct hearth_error reason = {0};
    if (topology_read_bandwidth(n_threads, &bytes_per_second, &reason) < 0) {
        log_line(HEARTH_LOG_WARNING, "memory bandwidth is unknown: %s", reason.text);
        return 0;
    }
    return bytes_per_second;
}

/* Host memory that may be used: the configured limit, or what is free. */
static uint64_t
host_memory(const struct rooms *rooms)
{
    const uint64_t limit = config_values(rooms->config)->memory.memory_bytes;
    return limit > 0 ? limit : topology_facts(rooms->topology)->memory_available_bytes;
}

/* How fast an open device reads, which it does not say itself; 0: unknown, or nobody wants to know. */
static double
measured_rate(const struct rooms *rooms, const struct plugin_device *device)
{
    struct hearth_roof roof = {.struct_size = sizeof roof};
    struct hearth_error reason = {0};
    if (is_host_device(device)) {
        return rooms->host_bandwidth;
    }
    if (!rooms->measures || !device->plugin->measure) {
        return 0;
    }
    if (device->plugin->measure(device->device, MEASURE_SECONDS, &roof, &reason) < 0) {
        log_line(HEARTH_LOG_WARNING, "device %s: its memory's bandwidth is unknown: %s", device->info.name,
                 reason.text);
        return 0;
    }
    return roof.read_bytes_per_second;
}

static void
describe_device(const struct rooms *rooms, const struct plugin_device *device, struct plan_device *ret_facts)
{
    struct plan_device facts = {
        .plugin = device->plugin->name,
        .name = device->info.name,
        .index = device->index,
        .is_host = is_host_device(device),
        .memory_bytes = device->info.memory_bytes,
        .read_bytes_per_second = device->info.read_bytes_per_second,
    };
    const uint64_t host = host_memory(rooms);
    if (facts.is_host && host > 0 && (facts.memory_bytes == 0 || host < facts.memory_bytes)) {
        facts.memory_bytes = host;
    }
    if (!(facts.read_bytes_per_second > 0)) {
        facts.read_bytes_per_second = measured_rate(rooms, device);
    }
    facts.lends_experts = device->plugin->weight_read != NULL;
    facts.borrows_experts = device->plugin->weight_refill != NULL;
    memcpy(facts.supports, device->supports[rooms->numerics], sizeof facts.supports);
    *ret_facts = facts;
}

/* Opens the device, and puts it into this place among those of the plan. */
static int
add_device(struct rooms *rooms, struct plugin_device *device, uint32_t place, struct hearth_error *err)
{
    const int status = plugin_device_open(device, err);
    if (status == HEARTH_OK) {
        const size_t n_behind = rooms->n_devices++ - place;
        memmove(&rooms->devices[place + 1], &rooms->devices[place], n_behind * sizeof rooms->devices[0]);
        memmove(&rooms->facts[place + 1], &rooms->facts[place], n_behind * sizeof rooms->facts[0]);
        rooms->devices[place] = device;
        describe_device(rooms, device, &rooms->facts[place]);
    }
    return status;
}

struct plugin_device *
rooms_host_device(const struct rooms *rooms, const struct plugin_device *other)
{
    size_t n = 0;
    struct plugin_device *devices = plugin_set_devices(rooms->plugins, &n);
    for (size_t i = 0; i < n; i++) {
        if (&devices[i] != other && is_host_device(&devices[i]) && !devices[i].is_given_up) {
            return &devices[i];
        }
    }
    return NULL;
}

static bool
is_in_use(const struct rooms *rooms, const struct plugin_device *device)
{
    uint32_t i = 0;
    while (i < rooms->n_devices && rooms->devices[i] != device) {
        i++;
    }
    return i < rooms->n_devices;
}

/* Whether the device may take layers beside the chosen one.  One without a place on the PCI bus runs on the host
 * (PoCL), and is no help to a card. */
static bool
may_join(const struct rooms *rooms, const struct plugin_device *chosen, const struct plugin_device *device)
{
    return !is_host_device(chosen) && !is_host_device(device) && !device->is_given_up && !is_in_use(rooms, device) &&
           device != chosen && (device->info.pci_address[0] || !chosen->info.pci_address[0]);
}

/* The next accelerator beside the chosen one: of its plugin first; NULL: there is none, or no more are wanted. */
static struct plugin_device *
next_accelerator(const struct rooms *rooms, const struct plugin_device *chosen, uint32_t n_accelerators)
{
    size_t n = 0;
    struct plugin_device *devices = plugin_set_devices(rooms->plugins, &n);
    const uint64_t limit = config_values(rooms->config)->device.accelerators;
    const uint64_t most = limit > 0 ? limit : PLAN_MAX_DEVICES - 1; /* one place is the host's */
    for (size_t i = 0; n_accelerators < most && i < 2 * n; i++) {
        struct plugin_device *device = &devices[i % n];
        const bool is_kin = device->plugin == chosen->plugin;
        if (is_kin == (i < n) && may_join(rooms, chosen, device)) {
            return device;
        }
    }
    return NULL;
}

/* The configured device or, if that is given up, another accelerator, or the host's. */
static int
choose_home(const struct rooms *rooms, struct plugin_device **ret_home, struct hearth_error *err)
{
    struct plugin_device *chosen = NULL;
    const int status = plugin_set_choose(rooms->plugins, &config_values(rooms->config)->device, &chosen, err);
    if (status < 0) {
        return status;
    }
    if (chosen->is_given_up) {
        struct plugin_device *other = next_accelerator(rooms, chosen, 1);
        chosen = other ? other : rooms_host_device(rooms, NULL);
        assert(chosen); /* takeover_begin saw one */
    }
    *ret_home = chosen;
    return HEARTH_OK;
}

static bool
has_given_up(const struct rooms *rooms)
{
    size_t n = 0, n_given_up = 0;
    const struct plugin_device *devices = plugin_set_devices(rooms->plugins, &n);
    for (size_t i = 0; i < n; i++) {
        n_given_up += devices[i].is_given_up;
    }
    return n_given_up > 0;
}

static int
make_plan(struct rooms *rooms, struct hearth_error *err)
{
    const struct plan_request request = {
        .shape = model_shape(rooms->model),
        .roles = model_roles(rooms->model),
        .devices = rooms->facts,
        .n_devices = rooms->n_devices,
        .numerics = rooms->numerics,
        .format = rooms->format,
        .context_length = rooms->context_length,
        .activation_bytes = graph_activation_bytes(model_shape(rooms->model), rooms->chunk),
        .n_loans = rooms->borrow_tokens > 0 && rooms->chunk >= rooms->borrow_tokens
                       ? exec_loans(model_shape(rooms->model)) : 0,
    };
    plan_free(rooms->plan);
    rooms->plan = NULL;
    return plan_make(&request, &rooms->plan, err);
}

/* What the last plan, or its refusal, wants more of. */
static bool
lacks_memory(const struct rooms *rooms, int status)
{
    return rooms->plan ? plan_is_short(rooms->plan) : status == HEARTH_EMEMORY;
}

/* The home and what must stand beside it. */
static int
plan_for(struct rooms *rooms, struct plugin_device *home, struct hearth_error *err)
{
    struct plugin_device *helper = rooms_host_device(rooms, home), *device;
    uint32_t n_accelerators = 1;
    int status = make_plan(rooms, err);
    if (status == HEARTH_EPLUGIN && helper) {
        status = add_device(rooms, helper, 1, err);
        if (status < 0) {
            return status;
        }
        status = make_plan(rooms, err);
    }
    while (lacks_memory(rooms, status) && (device = next_accelerator(rooms, home, n_accelerators))) {
        status = add_device(rooms, device, n_accelerators++, err);
        if (status < 0) {
            return status;
        }
        status = make_plan(rooms, err);
    }
    if (status == HEARTH_EMEMORY && helper && !is_in_use(rooms, helper)) {
        status = add_device(rooms, helper, rooms->n_devices, err);
        status = status < 0 ? status : make_plan(rooms, err);
    }
    return status;
}

static int
plan_at(struct rooms *rooms, struct plugin_device *home, struct hearth_error *err)
{
    rooms->n_devices = 0;
    const int status = add_device(rooms, home, 0, err);
    return status < 0 ? status : plan_for(rooms, home, err);
}

int
rooms_plan(struct rooms *rooms, struct hearth_error *err)
{
    struct plugin_device *home = NULL;
    rooms->n_devices = 0;
    int status = choose_home(rooms, &home, err);
    status = status < 0 ? status : plan_at(rooms, home, err);
    struct plugin_device *host = rooms_host_device(rooms, NULL);
    if (status == HEARTH_EMEMORY && host && !is_host_device(home) && has_given_up(rooms)) {
        status = plan_at(rooms, host, err); /* the accelerators that are left are too small even for the layers */
    }
    if (status < 0) { /* an earlier plan, on fewer devices, is none */
        plan_free(rooms->plan);
        rooms->plan = NULL;
    }
    return status;
}

/* Before any session is made: the state's rings are as long as steps ask for. */
static void
set_chunk(struct rooms *rooms, uint64_t chunk)
{
    rooms->chunk = (uint32_t)(chunk < rooms->context_length ? chunk : rooms->context_length);
    rooms->format.ring_slots = state_ring_slots(model_shape(rooms->model), rooms->chunk);
}

/* Devices and a plan.  Experts on loan come once a step: where nobody has said how long steps are, they are long then,
 * if there is room. */
static int
plan_steps(struct rooms *rooms, struct hearth_error *err)
{
    const int status = rooms_plan(rooms, err);
    const uint64_t chunk = rooms->chunk;
    if (status < 0 || config_values(rooms->config)->context.prefill_chunk > 0 || !plan_borrows(rooms->plan)) {
        return status;
    }
    set_chunk(rooms, BORROWING_CHUNK);
    if (rooms_plan(rooms, NULL) == HEARTH_OK && plan_borrows(rooms->plan)) {
        return HEARTH_OK;
    }
    set_chunk(rooms, chunk);
    return rooms_plan(rooms, err);
}

/* What the configuration and the model say together. */
static int
settle_lengths(struct rooms *rooms, struct hearth_error *err)
{
    const struct config_values *values = config_values(rooms->config);
    const struct model_shape *shape = model_shape(rooms->model);
    const uint64_t wanted = values->context.length;
    if (wanted > shape->max_positions) {
        return error_set(err, HEARTH_ECONFIG,
                         "context.length: at most %u wanted (max_position_embeddings of %s), %" PRIu64
                         " found", shape->max_positions, model_name(rooms->model), wanted);
    }
    rooms->context_length = wanted > 0 ? wanted
                            : shape->max_positions < DEFAULT_CONTEXT ? shape->max_positions
                                                                     : DEFAULT_CONTEXT;
    rooms->borrow_tokens = (uint32_t)values->device.borrow_tokens;
    const bool is_exact = strcmp(values->model.numerics, "exact") == 0;
    rooms->numerics = is_exact ? HEARTH_EXACT : HEARTH_NATIVE;
    rooms->format.kv_format = is_exact ? HEARTH_KV_F32 : HEARTH_KV_PACKED;
    set_chunk(rooms, values->context.prefill_chunk > 0 ? values->context.prefill_chunk : DEFAULT_CHUNK);
    return HEARTH_OK;
}

int
rooms_open(struct rooms *rooms, const struct hearth_config *config, const struct hearth_synthetic *synthetic,
           unsigned flags, bool measure, struct hearth_error *err)
{
    const struct config_values *values = config_values(config);
    *rooms = (struct rooms){.config = config, .measures = measure};
    /* before the topology: what random weights take is no longer free */
    int status = synthetic ? model_synthetic(synthetic, &rooms->model, err) : HEARTH_OK;
    if (status == HEARTH_OK) {
        status = topology_probe(values->topology.synthetic, &rooms->topology, err);
    }
    if (status == HEARTH_OK) {
        status = plugin_set_load(config, &rooms->plugins, err);
    }
    if (status == HEARTH_OK && !synthetic) {
        status = model_open(values->model.path, flags, &rooms->model, err);
    }
    if (status == HEARTH_OK) {
        status = settle_lengths(rooms, err);
    }
    if (status == HEARTH_OK && measure) {
        rooms->host_bandwidth = rooms_host_bandwidth(config, topology_facts(rooms->topology));
    }
    if (status == HEARTH_OK) {
        do {
            status = plan_steps(rooms, err);
        } while (status < 0 && takeover_begin(rooms, status));
    }
    if (status < 0) {
        rooms_close(rooms);
        return status;
    }
    takeover_tell(rooms, 0);
    return HEARTH_OK;
}

void
rooms_close(struct rooms *rooms)
{
    takeover_done(&rooms->takeover);
    plan_free(rooms->plan);
    plugin_set_free(rooms->plugins);
    model_close(rooms->model);
    topology_free(rooms->topology);
    *rooms = (struct rooms){0};
}
