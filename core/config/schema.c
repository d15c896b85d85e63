/* schema.c - every configuration key: name, type, range, default, unit, meaning. */
#include <config.h>

#include "core/config/schema.h"

#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(struct config_values, member)
#define MAX_COUNT 9007199254740992.0 /* 2^53: exact in a double */

const struct config_key config_keys[CONFIG_N_KEYS] = {
    {.name = "model.path", .type = CONFIG_STRING, .offset = AT(model.path), .member = CONFIG_MEMBER_STRING,
     .help = "folder of the checkpoint; unset: the bundled pilot model"},
    {.name = "model.numerics", .type = CONFIG_CHOICE, .choices = "native|exact", .fallback = "native",
     .offset = AT(model.numerics), .member = CONFIG_MEMBER_STRING,
     .help = "native: the arithmetic the model was trained for; exact: dequantised weights, f32 activations"},
    {.name = "context.length", .type = CONFIG_COUNT, .max = MAX_COUNT, .fallback = "0", .unit = "tokens",
     .offset = AT(context.length), .member = CONFIG_MEMBER_U64,
     .help = "most tokens of a session; 0: the smaller of 32768 and the model's maximum"},
    {.name = "context.prefill_chunk", .type = CONFIG_COUNT, .max = 65536, .fallback = "0", .unit = "tokens",
     .offset = AT(context.prefill_chunk), .member = CONFIG_MEMBER_U64,
     .help = "most tokens computed in one step; 0: 512, or 2048 where experts come on loan"},
    {.name = "cpu.threads", .type = CONFIG_COUNT, .max = 4096, .fallback = "0", .offset = AT(cpu.threads),
     .member = CONFIG_MEMBER_U64, .help = "worker threads on the host; 0: one per core"},
    {.name = "plugins.path", .type = CONFIG_LIST, .fallback = "", .offset = AT(plugins.path),
     .member = CONFIG_MEMBER_LIST, .help = "folders with plugins, searched in order before the installed ones"},
    {.name = "plugins.load", .type = CONFIG_LIST, .fallback = HEARTH_DEFAULT_PLUGINS, .offset = AT(plugins.load),
     .member = CONFIG_MEMBER_LIST, .help = "names of the plugins to load, in order of preference"},
    {.name = "device.plugin", .type = CONFIG_STRING, .offset = AT(device.plugin), .member = CONFIG_MEMBER_STRING,
     .help = "the plugin whose device runs the model; unset: the first of plugins.load that has a device"},
    {.name = "device.select", .type = CONFIG_STRING, .offset = AT(device.select), .member = CONFIG_MEMBER_STRING,
     .help = "which of its devices: an index, a PCI address, or a part of the name; unset: the first"},
    {.name = "device.accelerators", .type = CONFIG_COUNT, .max = 15, .fallback = "0", .offset = AT(device.accelerators),
     .member = CONFIG_MEMBER_U64,
     .help = "most accelerators that share the layers of a model; 0: as many as its size asks for; 1: the chosen one"},
    {.name = "device.borrow_tokens", .type = CONFIG_COUNT, .max = 65536, .fallback = "512", .unit = "tokens",
     .offset = AT(device.borrow_tokens), .member = CONFIG_MEMBER_U64,
     .help = "a step of so many sends the experts that live with the host to the device; 0: the host computes them"},
    {.name = "memory.limit", .type = CONFIG_BYTES, .max = MAX_COUNT, .fallback = "0", .unit = "bytes",
     .offset = AT(memory.memory_bytes), .member = CONFIG_MEMBER_U64,
     .help = "most host memory to use; 0: what is free"},
    {.name = "sampling.temperature", .type = CONFIG_NUMBER, .max = 100, .fallback = "1",
     .offset = AT(sampling.temperature), .member = CONFIG_MEMBER_FLOAT,
     .help = "0: always the most likely token; unless set, the model's own recommendation, else 1"},
    {.name = "sampling.top_p", .type = CONFIG_NUMBER, .min = 1e-6, .max = 1, .fallback = "1",
     .offset = AT(sampling.top_p), .member = CONFIG_MEMBER_FLOAT,
     .help = "keep the most likely tokens that together reach this; 1: off; unless set, the model's, else 1"},
    {.name = "sampling.min_p", .type = CONFIG_NUMBER, .max = 1, .fallback = "0", .offset = AT(sampling.min_p),
     .member = CONFIG_MEMBER_FLOAT, .help = "drop tokens less likely than this share of the most likely; 0: off"},
    {.name = "sampling.top_k", .type = CONFIG_COUNT, .max = 4294967295.0, .fallback = "0", .offset = AT(sampling.top_k),
     .member = CONFIG_MEMBER_U32,
     .help = "keep this many of the most likely tokens; 0: off; unless set, the model's, else 0"},
    {.name = "sampling.seed", .type = CONFIG_COUNT, .max = MAX_COUNT, .fallback = "0", .offset = AT(sampling.seed),
     .member = CONFIG_MEMBER_U64, .help = "the same seed gives the same text; 0: from the clock"},
    {.name = "generate.max_tokens", .type = CONFIG_COUNT, .max = MAX_COUNT, .fallback = "0", .unit = "tokens",
     .offset = AT(generate.max_tokens), .member = CONFIG_MEMBER_U64,
     .help = "longest answer; 0: until the context is full"},
    {.name = "chat.revision", .type = CONFIG_CHOICE, .choices = "april|0731", .fallback = "0731",
     .offset = AT(chat.revision), .member = CONFIG_MEMBER_STRING, .help = "revision of the chat format"},
    {.name = "chat.thinking", .type = CONFIG_BOOL, .fallback = "false", .offset = AT(chat.thinking),
     .member = CONFIG_MEMBER_BOOL, .help = "whether the model reasons before it answers"},
    {.name = "chat.effort", .type = CONFIG_CHOICE, .choices = "low|high|max", .offset = AT(chat.effort),
     .member = CONFIG_MEMBER_STRING, .help = "effort of the reasoning; unset: the revision's default"},
    {.name = "chat.drop_thinking", .type = CONFIG_BOOL, .fallback = "true", .offset = AT(chat.drop_thinking),
     .member = CONFIG_MEMBER_BOOL, .help = "forget the reasoning of earlier turns"},
    {.name = "chat.system", .type = CONFIG_STRING, .offset = AT(chat.system), .member = CONFIG_MEMBER_STRING,
     .help = "system prompt of run and chat"},
    {.name = "chat.history", .type = CONFIG_STRING, .offset = AT(chat.history), .member = CONFIG_MEMBER_STRING,
     .help = "file that keeps the lines typed in chat; empty: none is kept"},
    {.name = "topology.synthetic", .type = CONFIG_STRING, .offset = AT(topology.synthetic),
     .member = CONFIG_MEMBER_STRING,
     .help = "plan for another machine: an hwloc synthetic description or XML file"},
    {.name = "log.level", .type = CONFIG_CHOICE, .choices = "error|warning|info|debug", .fallback = "warning",
     .offset = AT(log.level), .member = CONFIG_MEMBER_STRING, .help = "what is said on stderr"},
    {.name = "device.timeout", .type = CONFIG_NUMBER, .min = 0.001, .max = 86400, .fallback = "600", .unit = "seconds",
     .offset = AT(device.timeout_seconds), .member = CONFIG_MEMBER_FLOAT,
     .help = "a step that takes longer counts as a hung device"},
    {.name = "device.takeover", .type = CONFIG_BOOL, .fallback = "true", .offset = AT(device.takeover),
     .member = CONFIG_MEMBER_BOOL,
     .help = "a device that fails is given up, and others do its work; false: the failure ends the step"},
    {.name = "session.directory", .type = CONFIG_STRING, .fallback = ".", .offset = AT(session.directory),
     .member = CONFIG_MEMBER_STRING, .help = "folder of saved sessions whose name has no path"},
    {.name = "cache.directory", .type = CONFIG_STRING, .offset = AT(cache.directory), .member = CONFIG_MEMBER_STRING,
     .help = "folder of what can be made again, such as compiled kernels; empty: none is kept"},
    {.name = "cache.weights", .type = CONFIG_BOOL, .fallback = "false", .offset = AT(cache.weights),
     .member = CONFIG_MEMBER_BOOL,
     .help = "keep weights there as the device wants them, about the model's size, and map them at the next start"},
};

const struct config_key *
config_key_find(const char *name)
{
    for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
        if (strcmp(config_keys[i].name, name) == 0) {
            return &config_keys[i];
        }
    }
    return NULL;
}

#define NEAREST_MAX_LENGTH 64

/* Edits (insert, delete, replace, swap of neighbours) that turn a into b; both at most NEAREST_MAX_LENGTH long. */
static unsigned
edit_distance(const char *a, const char *b)
{
    unsigned rows[3][NEAREST_MAX_LENGTH + 1];
    const size_t n_a = strlen(a), n_b = strlen(b);
    for (size_t j = 0; j <= n_b; j++) {
        rows[0][j] = (unsigned)j;
    }
    for (size_t i = 1; i <= n_a; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= n_b; j++) {
            unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < best) {
                best = above2[j - 2] + 1;
            }
            row[j] = best;
        }
    }
    return rows[n_a % 3][n_b];
}

const char *
config_key_nearest(const char *name)
{
    const char *nearest = NULL;
    unsigned least = (unsigned)strlen(name) / 3 + 2;
    const char *const name_key = strrchr(name, '.') ? strrchr(name, '.') + 1 : name;
    if (strlen(name) > NEAREST_MAX_LENGTH) {
        return NULL;
    }
    for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
        const char *const full = config_keys[i].name;
        const char *const key = strchr(full, '.') + 1;
        unsigned distance = edit_distance(name, full);
        /* the right key in the wrong section, or no section at all */
        const unsigned misplaced = edit_distance(name_key, key) + 1;
        distance = misplaced < distance ? misplaced : distance;
        if (distance < least) {
            least = distance;
            nearest = full;
        }
    }
    return nearest;
}
