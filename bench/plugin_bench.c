/* plugin_bench.c - the heavy operations of a plugin at V4-Flash's sizes, beside the roof of this machine.
 *
 *     plugin-bench FILE.so [KEY=VALUE ...] [only=NAME] [large=yes]
 *
 * Each line is the median of several rounds; between rounds of an operation the roof (a plain read of memory by as many
 * threads as there are cores) is measured again, so that other load on the machine weighs on both.  Weights are cycled
 * through, so that no cache holds them.  Bytes are those of the weights in their own format.  A device with memory of
 * its own has the roof that it measured itself; its times then hold what the host adds to them. */
#include <config.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hearth/plugin.h>

#define MAX_COPIES 24
#define ROUNDS 7
#define ROOF_BYTES (192u << 20)
#define MAX_CORES 256

struct bench {
    const struct hearth_plugin *plugin;
    struct hearth_device *device;
    char **options;
    uint64_t random;
    double device_roof; /* bytes per second of a device with memory of its own; 0: the host's memory is what counts */
};

static void
die(const char *what, const struct hearth_error *err)
{
    fprintf(stderr, "plugin-bench: %s: %s\n", what, err == NULL ? "failed" : err->text);
    exit(HEARTH_EXIT_DEVICE);
}

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static uint64_t
next_random(struct bench *bench)
{
    bench->random ^= bench->random << 13;
    bench->random ^= bench->random >> 7;
    bench->random ^= bench->random << 17;
    return bench->random;
}

static void *
take(uint64_t size)
{
    void *memory = malloc((size_t)size);
    if (memory == NULL) {
        die("no memory", NULL);
    }
    return memory;
}

/* Codes at random, none of them a NaN; scales near 1. */
static void *
random_bytes(struct bench *bench, uint64_t size, unsigned char mask)
{
    unsigned char *bytes = take(size);
    for (uint64_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char)(next_random(bench) >> 32) & mask;
    }
    return bytes;
}

static struct hearth_matrix
make_matrix(struct bench *bench, uint32_t dtype, uint64_t rows, uint64_t cols)
{
    struct hearth_matrix matrix = {.dtype = dtype, .rows = rows, .cols = cols};
    matrix.data_bytes = dtype == HEARTH_E2M1X2 ? rows * cols / 2 : (dtype == HEARTH_BF16 ? 2 : 1) * rows * cols;
    matrix.scales_bytes = dtype == HEARTH_E2M1X2 ? rows * (cols / 32) : rows / 128 * (cols / 128);
    matrix.data = random_bytes(bench, matrix.data_bytes, dtype == HEARTH_E2M1X2 ? 0xFF : 0xBF);
    if (dtype != HEARTH_BF16) {
        unsigned char *scales = take(matrix.scales_bytes);
        memset(scales, 120, (size_t)matrix.scales_bytes);
        matrix.scales = scales;
    } else {
        matrix.scales_bytes = 0;
    }
    return matrix;
}

static struct hearth_weight *
create_weight(struct bench *bench, enum hearth_weight_role role, const struct hearth_matrix *matrices, size_t n)
{
    struct hearth_error err;
    struct hearth_weight *weight;
    if (bench->plugin->weight_create(bench->device, role, matrices, n, &weight, &err) < 0) {
        die("weight", &err);
    }
    return weight; /* the source stays: the device may map it */
}

static struct hearth_weight *
make_weight(struct bench *bench, enum hearth_weight_role role, uint32_t dtype, uint64_t rows, uint64_t cols)
{
    struct hearth_matrix matrices[3];
    const size_t n = role == HEARTH_WEIGHT_EXPERT ? 3 : 1;
    for (size_t i = 0; i < n; i++) {
        matrices[i] = make_matrix(bench, dtype, i == 2 ? cols : rows, i == 2 ? rows : cols);
    }
    return create_weight(bench, role, matrices, n);
}

static struct hearth_view
make_view(struct bench *bench, uint64_t n_floats)
{
    struct hearth_error err;
    struct hearth_view view = {NULL, 0};
    float *values = take(n_floats * sizeof *values);
    for (uint64_t i = 0; i < n_floats; i++) {
        values[i] = hearth_round_bf16((float)(int64_t)(next_random(bench) >> 33) * 0x1p-31f - 0.5f);
    }
    if (bench->plugin->buffer_alloc(bench->device, n_floats * sizeof *values, &view.buffer, &err) < 0 ||
        bench->plugin->buffer_write(bench->device, view, values, n_floats * sizeof *values, NULL, &err) < 0) {
        die("buffer", &err);
    }
    free(values);
    return view;
}

/* Stored rows as a session would hold them: random codes, bf16 numbers near 1, scales near `scale`. */
static struct hearth_view
make_rows(struct bench *bench, uint64_t n, uint64_t n_codes, unsigned char mask, uint64_t n_bf16, uint64_t n_scales,
          unsigned char scale, uint64_t row_bytes)
{
    struct hearth_error err;
    struct hearth_view view = {NULL, 0};
    unsigned char *rows = random_bytes(bench, n * row_bytes, mask);
    for (uint64_t i = 0; i < n; i++) {
        unsigned char *row = rows + i * row_bytes + n_codes;
        for (uint64_t j = 0; j < n_bf16; j++, row += 2) {
            const uint16_t bits = hearth_bf16_from_f32((float)(int64_t)(next_random(bench) >> 33) * 0x1p-30f - 1.0f);
            memcpy(row, &bits, sizeof bits);
        }
        for (uint64_t j = 0; j < n_scales; j++) {
            row[j] = (unsigned char)(scale + next_random(bench) % 2);
        }
    }
    if (bench->plugin->buffer_alloc(bench->device, n * row_bytes, &view.buffer, &err) < 0 ||
        bench->plugin->buffer_write(bench->device, view, rows, n * row_bytes, NULL, &err) < 0) {
        die("buffer", &err);
    }
    free(rows);
    return view;
}

struct reader {
    pthread_t thread;
    const uint64_t *words;
    uint64_t n, sum;
};

static void *
read_words(void *context)
{
    struct reader *reader = context;
    uint64_t sums[8] = {0};
    for (uint64_t i = 0; i + 8 <= reader->n; i += 8) {
        for (int j = 0; j < 8; j++) {
            sums[j] += reader->words[i + j];
        }
    }
    for (int j = 0; j < 8; j++) {
        reader->sum += sums[j];
    }
    return NULL;
}

/* Bytes per second of a plain read by all cores. */
static double
measure_roof(const uint64_t *words)
{
    const long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    const unsigned n = n_cores < 1 ? 1 : (n_cores > MAX_CORES ? MAX_CORES : (unsigned)n_cores);
    static struct reader readers[MAX_CORES];
    const uint64_t share = ROOF_BYTES / 8 / n;
    const double start = now();
    for (unsigned i = 0; i < n; i++) {
        readers[i] = (struct reader){.words = words + i * share, .n = share};
        if (pthread_create(&readers[i].thread, NULL, read_words, &readers[i]) != 0) {
            die("a thread", NULL);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(readers[i].thread, NULL);
    }
    return (double)(share * 8 * n) / (now() - start);
}

static int
compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static const char *
give_option(void *context, const char *key)
{
    const struct bench *bench = context;
    const size_t length = strlen(key);
    for (char **option = bench->options; *option != NULL; option++) {
        if (strncmp(*option, key, length) == 0 && (*option)[length] == '=') {
            return *option + length + 1;
        }
    }
    return NULL;
}

/* Option `only`: the lines whose names begin so; also a beginning that all of them have. */
static bool
is_wanted(const struct bench *bench, const char *name)
{
    const char *only = give_option((void *)(uintptr_t)bench, "only");
    const size_t length = only == NULL ? 0 : strlen(only) < strlen(name) ? strlen(only) : strlen(name);
    return length == 0 || strncmp(name, only, length) == 0;
}

/* commands: [n_commands], one after the other in each round. */
static void
measure(struct bench *bench, const uint64_t *words, const char *name, const struct hearth_command *commands,
        size_t n_commands, double bytes, double products)
{
    double seconds[ROUNDS], roofs[ROUNDS];
    for (int round = -1; round < ROUNDS; round++) {
        struct hearth_error err;
        const double roof = bench->device_roof > 0.0 ? bench->device_roof : measure_roof(words);
        struct hearth_event *done = NULL;
        const double start = now();
        for (size_t i = 0; i < n_commands; i++) {
            struct hearth_event **ret_event = i + 1 == n_commands ? &done : NULL;
            if (bench->plugin->submit(bench->device, &commands[i], 1, NULL, 0, ret_event, &err) < 0) {
                die(name, &err);
            }
        }
        if (done != NULL && bench->plugin->event_wait(bench->device, done, UINT64_MAX, &err) < 0) {
            die(name, &err);
        }
        if (round >= 0) {
            seconds[round] = (now() - start) / (double)n_commands;
            roofs[round] = roof;
        }
        if (done != NULL && bench->plugin->event_free != NULL) {
            bench->plugin->event_free(bench->device, done);
        }
    }
    qsort(seconds, ROUNDS, sizeof seconds[0], compare);
    qsort(roofs, ROUNDS, sizeof roofs[0], compare);
    const double time = seconds[ROUNDS / 2], roof = roofs[ROUNDS / 2];
    printf("%-28s %9.3f ms %8.2f GB/s %6.1f%% of %.1f GB/s %9.1f G mul/s\n", name, 1e3 * time, 1e-9 * bytes / time,
           100.0 * bytes / time / roof, 1e-9 * roof, 1e-9 * products / time);
}

static void
bench_linear(struct bench *bench, const uint64_t *words, const char *name, uint32_t dtype, uint32_t n_out,
             uint32_t n_in, uint32_t n, size_t n_copies)
{
    const bool is_head = strncmp(name, "head", 4) == 0;
    struct hearth_command commands[MAX_COPIES] = {{0}};
    const double element = dtype == HEARTH_BF16 ? 2.0 : 1.0;
    if (!is_wanted(bench, name)) {
        return;
    }
    const struct hearth_view x = make_view(bench, (uint64_t)n * n_in), y = make_view(bench, (uint64_t)n * n_out);
    for (size_t i = 0; i < n_copies; i++) {
        commands[i].op = HEARTH_OP_LINEAR;
        commands[i].numerics = HEARTH_NATIVE;
        commands[i].args.linear = (struct hearth_op_linear){
            .x = x,
            .y = y,
            .weight = make_weight(bench, is_head ? HEARTH_WEIGHT_HEAD : HEARTH_WEIGHT_LINEAR, dtype, n_out, n_in),
            .n = n,
            .n_in = n_in,
            .n_out = n_out,
            .round_output = 1};
    }
    measure(bench, words, name, commands, n_copies, element * n_out * n_in, (double)n * n_out * n_in);
}

/* Six experts a token; which ones, walks round. */
static void
bench_experts(struct bench *bench, const uint64_t *words, const char *name, const struct hearth_weight *const *experts,
              uint32_t n_experts, uint32_t n)
{
    enum { DIM = 4096, INNER = 2048, TOP_K = 6, MOST = 40 };
    struct hearth_command commands[MOST] = {{0}};
    /* one token's experts are others in each command: no cache has so many */
    const size_t n_commands = n == 1 && n_experts >= MOST * TOP_K ? MOST : 4;
    struct hearth_error err;
    if (!is_wanted(bench, name)) {
        return;
    }
    const struct hearth_view x = make_view(bench, (uint64_t)n * DIM), y = make_view(bench, (uint64_t)n * TOP_K * DIM);
    uint32_t next = 0;
    for (size_t i = 0; i < n_commands; i++) {
        struct hearth_route *routes = take((uint64_t)n * TOP_K * sizeof *routes);
        const struct hearth_view view = make_view(bench, (uint64_t)n * TOP_K * 4);
        for (uint32_t r = 0; r < n * TOP_K; r++) {
            routes[r] = (struct hearth_route){r / TOP_K, r, next++ % n_experts, 0.4f};
        }
        if (bench->plugin->buffer_write(bench->device, view, routes, (uint64_t)n * TOP_K * sizeof *routes, NULL, &err) <
            0) {
            die("routes", &err);
        }
        free(routes);
        commands[i].op = HEARTH_OP_EXPERT_FFN;
        commands[i].numerics = HEARTH_NATIVE;
        commands[i].args.expert_ffn = (struct hearth_op_expert_ffn){.x = x,
                                                                    .routes = view,
                                                                    .y = y,
                                                                    .experts = experts,
                                                                    .n = n,
                                                                    .n_routes = n * TOP_K,
                                                                    .n_slots = n * TOP_K,
                                                                    .n_experts = n_experts,
                                                                    .dim = DIM,
                                                                    .inner = INNER,
                                                                    .limit = 10.0f};
    }
    const double n_used = n * TOP_K < n_experts ? n * TOP_K : n_experts, n_weights = 3.0 * DIM * INNER;
    measure(bench, words, name, commands, n_commands, n_used * n_weights * 17.0 / 32.0, n * TOP_K * n_weights);
}

static const struct hearth_weight *
make_vector(struct bench *bench, uint64_t n)
{
    static float zeros[256];
    struct hearth_error err;
    struct hearth_weight *vector;
    const struct hearth_matrix matrix = {
        .dtype = HEARTH_F32, .rows = 1, .cols = n, .data = zeros, .data_bytes = n * sizeof(float)};
    if (bench->plugin->weight_create(bench->device, HEARTH_WEIGHT_VECTOR, &matrix, 1, &vector, &err) < 0) {
        die("vector", &err);
    }
    return vector;
}

/* The last n tokens of a session that has n_entries compressed rows, one for `ratio` tokens. */
static void
bench_attention(struct bench *bench, const uint64_t *words, const char *name, uint32_t n, uint32_t ratio,
                uint32_t n_entries)
{
    enum { HEADS = 64, DIM = 512, ROPE = 64, WINDOW = 128 };
    struct hearth_command command = {.op = HEARTH_OP_ATTENTION, .numerics = HEARTH_NATIVE};
    const uint64_t row_bytes = hearth_kv_row_bytes(HEARTH_KV_PACKED, DIM, ROPE);
    const uint64_t n_codes = DIM - ROPE, n_scales = n_codes / 64, slots = WINDOW - 1 + n;
    if (!is_wanted(bench, name)) {
        return;
    }
    command.args.attention = (struct hearth_op_attention){
        .q = make_view(bench, (uint64_t)n * HEADS * DIM),
        .ring = make_rows(bench, slots, n_codes, 0xBF, ROPE, n_scales, 125, row_bytes),
        .entries = make_rows(bench, n_entries, n_codes, 0xBF, ROPE, n_scales, 125, row_bytes),
        .o = make_view(bench, (uint64_t)n * HEADS * DIM),
        .sinks = make_vector(bench, HEADS),
        .inv_freq = make_vector(bench, ROPE / 2),
        .position = (uint64_t)ratio * n_entries - n,
        .n = n,
        .n_heads = HEADS,
        .head_dim = DIM,
        .rope_dim = ROPE,
        .window = WINDOW,
        .ring_slots = (uint32_t)slots,
        .ratio = ratio,
        .kv_format = HEARTH_KV_PACKED};
    const double n_keys = WINDOW + n_entries;
    measure(bench, words, name, &command, 1, n_keys * (double)row_bytes, 2.0 * n * n_keys * HEADS * DIM);
}

static void
bench_index(struct bench *bench, const uint64_t *words, const char *name, uint32_t n, uint32_t n_entries)
{
    enum { HEADS = 64, WIDTH = 128, TOP_K = 512, ROPE = 64 };
    struct hearth_error err;
    struct hearth_command command = {.op = HEARTH_OP_INDEX_TOPK, .numerics = HEARTH_NATIVE};
    struct hearth_command query = {.op = HEARTH_OP_INDEX_QUERY, .numerics = HEARTH_NATIVE};
    const uint64_t row_bytes = hearth_index_row_bytes(HEARTH_KV_PACKED, WIDTH);
    if (!is_wanted(bench, name)) {
        return;
    }
    command.args.index_topk = (struct hearth_op_index_topk){
        .q = make_view(bench, (uint64_t)n * HEADS * WIDTH),
        .head_weights = make_view(bench, (uint64_t)n * HEADS),
        .keys = make_rows(bench, n_entries, WIDTH / 2, 0xFF, 0, WIDTH / 32, 125, row_bytes),
        .indices = make_view(bench, (uint64_t)n * TOP_K),
        .position = 4ull * n_entries - n,
        .n = n,
        .n_heads = HEADS,
        .width = WIDTH,
        .ratio = 4,
        .top_k = TOP_K,
        .kv_format = HEARTH_KV_PACKED};
    query.args.index_query = (struct hearth_op_index_query){.q = command.args.index_topk.q,
                                                            .inv_freq = make_vector(bench, ROPE / 2),
                                                            .n = n,
                                                            .n_heads = HEADS,
                                                            .width = WIDTH,
                                                            .rope_dim = ROPE};
    if (bench->plugin->submit(bench->device, &query, 1, NULL, 0, NULL, &err) < 0) {
        die(name, &err);
    }
    measure(bench, words, name, &command, 1, n_entries * (double)row_bytes, (double)n * n_entries * HEADS * WIDTH);
}

static void
bench_all(struct bench *bench, const uint64_t *words)
{
    enum { N_EXPERTS = MAX_COPIES };
    const struct hearth_weight *experts[N_EXPERTS];
    for (int i = 0; is_wanted(bench, "experts") && i < N_EXPERTS; i++) {
        experts[i] = make_weight(bench, HEARTH_WEIGHT_EXPERT, HEARTH_E2M1X2, 2048, 4096);
    }
    bench_experts(bench, words, "experts e2m1, 1 token", experts, N_EXPERTS, 1);
    bench_experts(bench, words, "experts e2m1, 64 tokens", experts, N_EXPERTS, 64);
    bench_linear(bench, words, "linear e4m3, 1 token", HEARTH_E4M3, 4096, 4096, 1, 12);
    bench_linear(bench, words, "linear e4m3, 64 tokens", HEARTH_E4M3, 4096, 4096, 64, 2);
    bench_linear(bench, words, "linear bf16, 1 token", HEARTH_BF16, 16384, 4096, 1, 2);
    bench_attention(bench, words, "attention, 640 keys", 1, 4, 512);
    bench_attention(bench, words, "attention, 8320 keys", 1, 128, 8192);
    bench_attention(bench, words, "attention, 640 keys, n = 64", 64, 4, 512);
    bench_index(bench, words, "index_topk, 16384 entries", 1, 16384);
    bench_index(bench, words, "index_topk, 262144 entries", 1, 262144);
    bench_index(bench, words, "index_topk, 16384, n = 64", 64, 16384);
}

/* What only a large device does in bearable time: a prompt of 2048 tokens, the head, all experts of a layer. */
static void
bench_large(struct bench *bench, const uint64_t *words)
{
    enum { N_EXPERTS = 256 };
    const struct hearth_weight *experts[N_EXPERTS];
    struct hearth_matrix matrices[3];
    for (int i = 0; is_wanted(bench, "experts") && i < 3; i++) {
        matrices[i] = make_matrix(bench, HEARTH_E2M1X2, i == 2 ? 4096 : 2048, i == 2 ? 2048 : 4096);
    }
    for (int i = 0; is_wanted(bench, "experts") && i < N_EXPERTS; i++) {
        experts[i] = create_weight(bench, HEARTH_WEIGHT_EXPERT, matrices, 3);
    }
    bench_experts(bench, words, "experts e2m1, 256, 1 token", experts, N_EXPERTS, 1);
    bench_experts(bench, words, "experts e2m1, 256, n = 512", experts, N_EXPERTS, 512);
    bench_experts(bench, words, "experts e2m1, 256, n = 2048", experts, N_EXPERTS, 2048);
    bench_linear(bench, words, "linear e4m3, n = 2048", HEARTH_E4M3, 4096, 4096, 2048, 2);
    bench_linear(bench, words, "linear bf16, n = 2048", HEARTH_BF16, 2560, 4096, 2048, 2);
    bench_linear(bench, words, "linear e4m3, 32768 x 1024", HEARTH_E4M3, 32768, 1024, 1, 2);
    bench_linear(bench, words, "head bf16, 1 token", HEARTH_BF16, 129280, 4096, 1, 1);
    bench_attention(bench, words, "attention, 640 keys, n = 512", 512, 4, 512);
    bench_index(bench, words, "index_topk, 16384, n = 512", 512, 16384);
}

static void
take_log(void *context, int level, const char *text)
{
    (void)context;
    printf("# log %d: %s\n", level, text);
}

static const struct hearth_plugin *
load(const char *path)
{
    char symbol[128];
    const char *slash = strrchr(path, '/');
    const char *file = slash == NULL ? path : slash + 1;
    const char *dot = strrchr(file, '.');
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL || strncmp(file, "hearth-", 7) != 0 || dot == NULL) {
        fprintf(stderr, "plugin-bench: %s: a plugin hearth-<name>.so wanted\n", path);
        exit(HEARTH_EXIT_USAGE);
    }
    snprintf(symbol, sizeof symbol, "hearth_plugin_%.*s", (int)(dot - file) - 7, file + 7);
    const struct hearth_plugin *plugin = dlsym(handle, symbol);
    if (plugin == NULL || plugin->abi >> 16 != HEARTH_PLUGIN_ABI_MAJOR) {
        fprintf(stderr, "plugin-bench: %s: no %s of this ABI\n", path, symbol);
        exit(HEARTH_EXIT_DEVICE);
    }
    return plugin;
}

/* What the device itself says of its limits. */
static void
print_roof(struct bench *bench, uint32_t flags)
{
    struct hearth_error err;
    struct hearth_roof roof = {.struct_size = sizeof roof};
    if (bench->plugin->measure != NULL && bench->plugin->measure(bench->device, 0.4, &roof, &err) == 0) {
        printf("# at best %.1f GB/s, %.0f G mul/s by %s, %.0f G mul/s in f32\n", 1e-9 * roof.read_bytes_per_second,
               0.5e-9 * roof.operations_per_second, roof.operation, 0.5e-9 * roof.exact_operations_per_second);
        bench->device_roof = flags & HEARTH_DEVICE_HOST_MEMORY ? 0.0 : roof.read_bytes_per_second;
    }
}

int
main(int argc, char **argv)
{
    struct bench bench = {.random = 88172645463325252u};
    struct hearth_error err;
    struct hearth_device_info info = {.struct_size = sizeof info};
    uint32_t n_devices = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: plugin-bench FILE.so [KEY=VALUE ...]\n");
        return HEARTH_EXIT_USAGE;
    }
    bench.plugin = load(argv[1]);
    bench.options = argv + 2;
    const struct hearth_host host = {sizeof host, &bench, take_log, give_option};
    if (bench.plugin->start(&host, &n_devices, &err) < 0 || n_devices == 0 ||
        bench.plugin->describe(0, &info, &err) < 0 || bench.plugin->open(0, &bench.device, &err) < 0) {
        die("device", &err);
    }
    printf("# %s: %s\n", bench.plugin->name, info.name);
    print_roof(&bench, info.flags);
    uint64_t *words = take(ROOF_BYTES);
    memset(words, 1, ROOF_BYTES);
    bench_all(&bench, words);
    if (give_option(&bench, "large") != NULL) {
        bench_large(&bench, words);
    }
    free(words);
    bench.plugin->close(bench.device);
    bench.plugin->stop();
    return 0;
}
