/* device.c - the one device: this machine's cores and memory.  Work is done when submit returns.
 *
 * Options: `threads`, 1 .. 1024, without it one for each core the process may use; `smt`, yes or no: one for each
 * hardware thread of those cores instead (no); `pin`, yes or no: whether worker threads stay on one core each (yes);
 * `tier`, the name of a set of kernels that the processor can run (cpu_tier_default); `head`, bf16
 * (as the checkpoint has it) or e4m3. */
#include <config.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cpu/cpu.h"
#include "backends/cpu/joint.h"

#define VIEW_ALIGN 4u

static struct {
    const struct hearth_host *host;
    uint32_t n_threads; /* wanted; 0: one for each core */
    bool pin, smt, reduces_head;
    int tier;
    _Atomic bool is_said[CPU_N_MATTERS];
} settings;

static const char *
option(const char *key)
{
    return settings.host->option == NULL ? NULL : settings.host->option(settings.host->context, key);
}

static void
say(int level, const char *text)
{
    if (settings.host != NULL && settings.host->log != NULL) {
        settings.host->log(settings.host->context, level, text);
    }
}

void
cpu_say_once(enum cpu_matter matter, const char *text)
{
    if (!atomic_exchange(&settings.is_said[matter], true)) {
        say(HEARTH_LOG_WARNING, text);
    }
}

/* ret_value: untouched if the option is absent */
static int
read_bool(const char *key, bool *ret_value, struct hearth_error *err)
{
    const char *text = option(key);
    if (text == NULL) {
        return 0;
    }
    const bool is_yes = strcmp(text, "yes") == 0 || strcmp(text, "true") == 0;
    if (!is_yes && strcmp(text, "no") != 0 && strcmp(text, "false") != 0) {
        return host_error(err, HEARTH_ECONFIG, 0, "cpu: option %s: yes or no wanted, \"%s\" found", key, text);
    }
    *ret_value = is_yes;
    return 0;
}

/* ret_tier: what is asked for by name */
static int
find_tier(const char *text, int best, int *ret_tier, struct hearth_error *err)
{
    const int tier = cpu_tier_find(text);
    if (tier < 0) {
        return host_error(err, HEARTH_ECONFIG, 0,
                          "cpu: option tier: avx2, avx512, vnni, bf16 or amx wanted, \"%s\" found", text);
    }
    if (tier > best) {
        return host_error(err, HEARTH_ECONFIG, 0, "cpu: option tier: %s wanted, this processor has %s", text,
                          cpu_tier_name(best));
    }
    *ret_tier = tier;
    return 0;
}

static int
read_tier(struct hearth_error *err)
{
    const int best = cpu_tier_best();
    const char *text = option("tier");
    int tier = cpu_tier_default(best);
    const int status = text == NULL || best < 0 ? 0 : find_tier(text, best, &tier, err);
    if (status < 0) {
        return status;
    }
    settings.tier = cpu_tier_ask(tier);
    if (settings.tier < tier && text != NULL) {
        char line[96];
        snprintf(line, sizeof line, "cpu: the system refuses the registers of tier %s: %s instead", cpu_tier_name(tier),
                 cpu_tier_name(settings.tier));
        say(HEARTH_LOG_WARNING, line);
    }
    return 0;
}

static int
read_head(struct hearth_error *err)
{
    const char *text = option("head");
    settings.reduces_head = text != NULL && strcmp(text, "e4m3") == 0;
    if (text != NULL && !settings.reduces_head && strcmp(text, "bf16") != 0) {
        return host_error(err, HEARTH_ECONFIG, 0, "cpu: option head: bf16 or e4m3 wanted, \"%s\" found", text);
    }
    return 0;
}

int
cpu_start(const struct hearth_host *host, uint32_t *ret_n_devices, struct hearth_error *err)
{
    settings.host = host;
    settings.n_threads = 0;
    settings.pin = true;
    settings.smt = false;
    for (int matter = 0; matter < CPU_N_MATTERS; matter++) {
        settings.is_said[matter] = false;
    }
    int status = host_option_threads(host, "cpu", &settings.n_threads, err);
    if (status == 0) {
        status = read_bool("pin", &settings.pin, err);
    }
    if (status == 0) {
        status = read_bool("smt", &settings.smt, err);
    }
    if (status == 0) {
        status = read_tier(err);
    }
    if (status == 0) {
        status = read_head(err);
    }
    if (status < 0) {
        return status;
    }
    if (settings.tier < 0) {
        say(HEARTH_LOG_WARNING, "cpu: a processor with AVX2, FMA, BMI2 and F16C wanted, this one lacks some");
    }
    host_tables_fill();
    *ret_n_devices = settings.tier < 0 ? 0 : 1;
    return 0;
}

void
cpu_stop(void)
{
    settings.host = NULL;
}

static int
check_index(uint32_t index, struct hearth_error *err)
{
    if (index != 0 || settings.tier < 0) {
        return host_error(err, HEARTH_EDEVICE, 0, "cpu: no device %u", index);
    }
    return 0;
}

int
cpu_describe(uint32_t index, struct hearth_device_info *info, struct hearth_error *err)
{
    struct hearth_device_info filled = {.flags = HEARTH_DEVICE_HOST_MEMORY | HEARTH_DEVICE_MAPS_WEIGHTS};
    struct cpu_places *places = NULL;
    int status = check_index(index, err);
    if (status == 0) {
        status = cpu_places_new(settings.n_threads, settings.smt, &places, err);
    }
    if (status < 0) {
        return status;
    }
    filled.memory_bytes = host_memory_bytes();
    filled.align_bytes = VIEW_ALIGN;
    const uint32_t n_threads = cpu_places_threads(places);
    const uint32_t n_nodes = cpu_places_split(places)->n_nodes;
    cpu_places_free(places);
    snprintf(filled.name, sizeof filled.name, "x86-64 %s, %u thread%s on %u node%s", cpu_tier_name(settings.tier),
             n_threads, n_threads == 1 ? "" : "s", n_nodes, n_nodes == 1 ? "" : "s");
    snprintf(filled.packed_layout, sizeof filled.packed_layout, CPU_LAYOUT "%s",
             settings.reduces_head ? " head=e4m3" : "");
    host_info_fill(&filled, info);
    return 0;
}

int
cpu_open(uint32_t index, struct hearth_device **ret_device, struct hearth_error *err)
{
    uint32_t n_unpinned = 0;
    int status = check_index(index, err);
    if (status < 0) {
        return status;
    }
    struct hearth_device *device = calloc(1, sizeof *device);
    if (device == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "cpu: no memory for a device");
    }
    if (pthread_mutex_init(&device->slab_lock, NULL) != 0) {
        free(device);
        return host_error(err, HEARTH_EMEMORY, 0, "cpu: no lock for a device");
    }
    device->kernels = cpu_tier_kernels(settings.tier);
    device->reduces_head = settings.reduces_head;
    status = cpu_places_new(settings.n_threads, settings.smt, &device->places, err);
    if (status == 0) {
        status = cpu_pool_new(device->places, settings.pin, &device->pool, &n_unpinned, err);
    }
    if (status < 0) {
        cpu_places_free(device->places);
        pthread_mutex_destroy(&device->slab_lock);
        free(device);
        return status;
    }
    if (n_unpinned > 0) {
        char text[96];
        snprintf(text, sizeof text, "cpu: %u of %u threads could not be pinned to a core", n_unpinned,
                 cpu_places_threads(device->places));
        cpu_say_once(CPU_MATTER_PIN, text);
    }
    *ret_device = device;
    return 0;
}

void
cpu_close(struct hearth_device *device)
{
    if (device != NULL) {
        cpu_pool_free(device->pool);
        cpu_slab_leave(device, device->slab);
        pthread_mutex_destroy(&device->slab_lock);
        host_scratch_free(&device->scratch);
        cpu_places_free(device->places);
        free(device);
    }
}

bool
cpu_supports(const struct hearth_device *device, uint32_t op, uint32_t numerics)
{
    (void)device;
    return op < HEARTH_N_OPS && numerics <= HEARTH_NATIVE;
}

/* Runs commands[0], and what may run with it; ret_n: how many that were. */
static int
run_commands(struct hearth_device *device, const struct hearth_command *commands, size_t n_commands, size_t *ret_n,
             struct hearth_error *err)
{
    const struct hearth_command *command = &commands[0];
    struct host_call call = {.device = device,
                             .scratch = &device->scratch,
                             .backend = "cpu",
                             .native = command->numerics == HEARTH_NATIVE,
                             .err = err};
    if (!cpu_supports(device, command->op, command->numerics)) {
        return host_error(err, HEARTH_EUNSUPPORTED, 0, "cpu: operation %u in numerics %u is not known here",
                          command->op, command->numerics);
    }
    host_scratch_reset(&device->scratch);
    *ret_n = cpu_joint_run(&call, commands, n_commands);
    if (*ret_n > 0) {
        return call.status;
    }
    *ret_n = 1;
    switch (command->op) {
#define HEARTH_OP(NAME, name)                                                                                          \
    case HEARTH_OP_##NAME:                                                                                             \
        call.op = #name;                                                                                               \
        cpu_##name(&call, &command->args.name);                                                                        \
        break;
#include <hearth/ops.def>
#undef HEARTH_OP
    }
    return call.status;
}

int
cpu_submit(struct hearth_device *device, const struct hearth_command *commands, size_t n_commands,
           struct hearth_event *const *waits, size_t n_waits, struct hearth_event **ret_event, struct hearth_error *err)
{
    (void)waits; /* they have happened */
    (void)n_waits;
    for (size_t i = 0, n = 0; i < n_commands; i += n) {
        const int status = run_commands(device, commands + i, n_commands - i, &n, err);
        if (status < 0) {
            return status;
        }
    }
    if (ret_event != NULL) {
        *ret_event = &host_happened;
    }
    return 0;
}
