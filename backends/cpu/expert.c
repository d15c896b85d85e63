/* expert.c - gated feed-forward blocks: the routed experts over a list of routes, and the shared expert.
 *
 *     y = w2 (g sigmoid(g) * u * weight),   g = min(w1 x, limit),   u = clamp(w3 x, -limit, limit)
 *
 * Two runs of all threads: first a unit of 16 hidden rows of an expert, through w1 and w3 and the activation; then,
 * when the activations are quantised, a unit of 16 rows of its w2.  Units of all experts form one list, so that the
 * threads have equal work however the routes fall, and each unit's weights are read once for all tokens that chose the
 * expert.  The shared expert joins the list when its command follows the routed ones' (joint.c). */
#include <string.h>

#include "backends/cpu/joint.h"
#include "backends/cpu/kernels.h"

#define MANY_TOKENS 32u
#define UNITS_AT_ONCE 4u /* many tokens pass once for all of them */
#define TILED_UNITS 32u

/* Routes of one expert, and its three matrices. */
struct group {
    const struct host_matrix *w1, *w2, *w3;
    const uint32_t *tokens; /* [n] rows of x, or NULL: row i */
    const uint32_t *slots;  /* [n] rows of y, or NULL: row i */
    const float *weights;   /* [n], or NULL: no weight */
    uint64_t first;         /* its first row among the hidden rows */
    uint64_t n;
    uint32_t expert;
};

/* One command's blocks. */
struct ffn {
    const struct cpu_kernels *kernels;
    bool native, contract;
    const struct group *groups;
    uint64_t n_groups, n_hidden; /* n_hidden: rows of activations, of all groups */
    struct cpu_wanted wanted[2]; /* forms of x, of the activations */
    struct cpu_input input;  /* x */
    struct cpu_input hidden; /* the activations */
    float *gates, *ups;      /* [n_hidden][inner] */
    uint32_t *identity;      /* [n_hidden]: each its own index */
    uint64_t n_at_once;      /* units that make an item of the lists of work */
    float *y;
    uint64_t dim, inner;
    float limit;
};

static struct cpu_product
product_of(const struct ffn *work, const struct host_matrix *weight)
{
    return (struct cpu_product){
        .weight = weight,
        .form = cpu_input_wanted(work->native, work->contract, weight).forms,
        .round = work->native,
    };
}

/* Items of a group. */
static uint64_t
count_items(const struct ffn *work, bool up)
{
    return (cpu_row_units(up ? work->inner : work->dim) + work->n_at_once - 1) / work->n_at_once;
}

static uint64_t
last_unit(const struct ffn *work, uint64_t end, uint64_t rows)
{
    return end * work->n_at_once < cpu_row_units(rows) ? end * work->n_at_once : cpu_row_units(rows);
}

static void
run_up_items(const struct ffn *work, const struct group *group, uint64_t first, uint64_t last)
{
    const uint64_t begin = first * work->n_at_once, end = last_unit(work, last, work->inner);
    const struct host_matrix *matrices[2] = {group->w1, group->w3};
    float *outputs[2] = {work->gates + group->first * work->inner, work->ups + group->first * work->inner};
    const uint64_t first_row = begin * CPU_ROW_UNIT;
    const uint64_t last_row = end * CPU_ROW_UNIT < work->inner ? end * CPU_ROW_UNIT : work->inner;
    for (int m = 0; m < 2; m++) {
        struct cpu_product product = product_of(work, matrices[m]);
        product.input = &work->input;
        product.tokens = group->tokens;
        product.n_tokens = group->n;
        product.y = outputs[m];
        product.y_stride = work->inner;
        cpu_product_units(work->kernels, &product, begin, end);
    }
    for (uint64_t r = 0; r < group->n; r++) {
        const uint64_t at = r * work->inner + first_row;
        work->kernels->swiglu(outputs[0] + at, outputs[1] + at, last_row - first_row, work->limit,
                              group->weights == NULL ? NULL : &group->weights[r], work->native);
    }
}

static void
run_down_items(const struct ffn *work, const struct group *group, uint64_t first, uint64_t last)
{
    const uint64_t begin = first * work->n_at_once, end = last_unit(work, last, work->dim);
    struct cpu_product product = product_of(work, group->w2);
    product.input = &work->hidden;
    product.tokens = work->identity + group->first;
    product.n_tokens = group->n;
    product.slots = group->slots;
    product.y = work->y;
    product.y_stride = work->dim;
    cpu_product_units(work->kernels, &product, begin, end);
}

/* Cuts items begin .. end-1 of the list of all groups' items at the groups' borders. */
static void
for_groups(const struct ffn *work, uint64_t n_items, uint64_t begin, uint64_t end,
           void (*run)(const struct ffn *work, const struct group *group, uint64_t begin, uint64_t end))
{
    while (begin < end) {
        const uint64_t i = begin / n_items;
        const uint64_t last = (i + 1) * n_items < end ? (i + 1) * n_items : end;
        run(work, &work->groups[i], begin - i * n_items, last - i * n_items);
        begin = last;
    }
}

/* The items of one command or two, one list behind the other. */
struct parts {
    const struct ffn *ffn;
    uint32_t n;
};

static void
run_up(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct parts *parts = context;
    uint64_t first = 0;
    (void)thread;
    for (uint32_t p = 0; p < parts->n && first < end; p++) {
        const struct ffn *work = &parts->ffn[p];
        const uint64_t n_items = count_items(work, true);
        const uint64_t last = first + work->n_groups * n_items;
        for_groups(work, n_items, begin > first ? begin - first : 0, (end < last ? end : last) - first, run_up_items);
        first = last;
    }
}

static void
run_down(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct parts *parts = context;
    uint64_t first = 0;
    (void)thread;
    for (uint32_t p = 0; p < parts->n && first < end; p++) {
        const struct ffn *work = &parts->ffn[p];
        const uint64_t n_items = count_items(work, false);
        const uint64_t last = first + work->n_groups * n_items;
        for_groups(work, n_items, begin > first ? begin - first : 0, (end < last ? end : last) - first, run_down_items);
        first = last;
    }
}

/* Fetches the three matrices of an expert and adds the forms they want. */
static void
take_matrices(struct host_call *call, struct ffn *work, const struct hearth_weight *weight, struct group *group)
{
    group->w1 = host_weight(call, "w1", weight, 0, work->inner, work->dim);
    group->w3 = host_weight(call, "w3", weight, 1, work->inner, work->dim);
    group->w2 = host_weight(call, "w2", weight, 2, work->dim, work->inner);
    if (call->status < 0) {
        return;
    }
    const struct host_matrix *matrices[3] = {group->w1, group->w3, group->w2};
    for (int i = 0; i < 3; i++) {
        const struct cpu_wanted one = cpu_input_wanted(work->native, work->contract, matrices[i]);
        work->wanted[i / 2].forms |= one.forms; /* each form has one meaning within a command */
        work->wanted[i / 2].quantise |= one.quantise;
    }
}

static uint64_t
count_all(const struct parts *parts, bool up)
{
    uint64_t n_items = 0;
    for (uint32_t p = 0; p < parts->n; p++) {
        n_items += parts->ffn[p].n_groups * count_items(&parts->ffn[p], up);
    }
    return n_items;
}

/* Per item of a list, taken over all parts. */
static uint64_t
mean_cost(const struct parts *parts, bool up)
{
    uint64_t cost = 0;
    for (uint32_t p = 0; p < parts->n; p++) {
        const struct ffn *work = &parts->ffn[p];
        const uint64_t bytes = up ? 2 * cpu_unit_bytes(work->groups[0].w1) : cpu_unit_bytes(work->groups[0].w2);
        cost += cpu_row_units(up ? work->inner : work->dim) * bytes * (work->n_groups + work->n_hidden);
    }
    return cost / count_all(parts, up);
}

/* Few tokens: one list, as the threads' meetings are what costs.  Many: one for each part, whose items are not alike.
 */
static void
run_lists(struct cpu_pool *pool, const struct parts *parts, uint64_t n_tokens, bool up)
{
    const uint32_t n_at_once = n_tokens < MANY_TOKENS ? parts->n : 1;
    for (uint32_t p = 0; p < parts->n; p += n_at_once) {
        struct parts list = {parts->ffn + p, n_at_once};
        cpu_pool_run(pool, count_all(&list, up), 1, mean_cost(&list, up),
                     (struct cpu_work){up ? run_up : run_down, &list});
    }
}

/* Where there are tiles, an item gathers its tokens once for all of its units. */
static uint64_t
units_at_once(const struct ffn *work)
{
    if (work->kernels->blocks != NULL && work->contract && work->n_hidden >= CPU_TILED_TOKENS * work->n_groups) {
        return TILED_UNITS;
    }
    return work->n_hidden >= MANY_TOKENS * work->n_groups ? UNITS_AT_ONCE
           : work->n_hidden >= 2 * work->n_groups         ? CPU_PANELS_AT_ONCE
                                                          : 1;
}

static void
take_space(struct host_call *call, struct ffn *work)
{
    work->kernels = call->device->kernels;
    work->n_at_once = units_at_once(work);
    work->gates = host_scratch_take(call, work->n_hidden * work->inner, sizeof *work->gates);
    work->ups = host_scratch_take(call, work->n_hidden * work->inner, sizeof *work->ups);
    work->identity = host_scratch_take(call, work->n_hidden, sizeof *work->identity);
    for (uint64_t i = 0; i < work->n_hidden && call->status == 0; i++) {
        work->identity[i] = (uint32_t)i;
    }
}

/* ffn: [n_parts], each with a group at least, all of the same x: [n][dim] */
static void
run_parts(struct host_call *call, struct ffn *ffn, uint32_t n_parts, const float *x, uint64_t n)
{
    struct cpu_pool *pool = call->device->pool;
    struct parts parts = {ffn, n_parts};
    struct cpu_wanted wanted = {0, false};
    struct cpu_input input;
    for (uint32_t p = 0; p < n_parts; p++) {
        take_space(call, &ffn[p]);
        wanted.forms |= ffn[p].wanted[0].forms;
        wanted.quantise |= ffn[p].wanted[0].quantise;
    }
    if (call->status < 0) {
        return;
    }
    cpu_input_prepare(call, x, n, ffn[0].dim, wanted, &input);
    for (uint32_t p = 0; p < n_parts && call->status == 0; p++) {
        ffn[p].input = input;
    }
    if (call->status < 0) {
        return;
    }
    run_lists(pool, &parts, n, true);
    for (uint32_t p = 0; p < n_parts && call->status == 0; p++) {
        cpu_input_prepare(call, ffn[p].gates, ffn[p].n_hidden, ffn[p].inner, ffn[p].wanted[1], &ffn[p].hidden);
    }
    if (call->status == 0) {
        run_lists(pool, &parts, n, false);
    }
}

static bool
check_routes(struct host_call *call, const struct hearth_op_expert_ffn *op, const struct hearth_route *routes)
{
    for (uint32_t i = 0; i < op->n_routes; i++) {
        if (routes[i].token >= op->n || routes[i].slot >= op->n_slots || routes[i].expert >= op->n_experts) {
            host_call_fail(call, HEARTH_EINTERNAL, "routes[%u]: token %u of %u, slot %u of %u, expert %u of %u", i,
                           routes[i].token, op->n, routes[i].slot, op->n_slots, routes[i].expert, op->n_experts);
            return false;
        }
    }
    return true;
}

/* Routes in order of their experts; those of absent experts are left out. */
struct sorted {
    struct group *groups;
    uint64_t n_groups, n_routes;
};

static void
sort_routes(struct host_call *call, const struct hearth_op_expert_ffn *op, const struct hearth_route *routes,
            struct sorted *ret_sorted)
{
    uint32_t *starts = host_scratch_take(call, (uint64_t)op->n_experts + 1, sizeof *starts);
    uint32_t *tokens = host_scratch_take(call, op->n_routes, sizeof *tokens);
    uint32_t *slots = host_scratch_take(call, op->n_routes, sizeof *slots);
    float *weights = host_scratch_take(call, op->n_routes, sizeof *weights);
    struct group *groups =
        host_scratch_take(call, op->n_routes < op->n_experts ? op->n_routes : op->n_experts, sizeof *groups);
    uint64_t n_groups = 0;
    if (call->status < 0) {
        return;
    }
    memset(starts, 0, ((size_t)op->n_experts + 1) * sizeof *starts);
    for (uint32_t i = 0; i < op->n_routes; i++) {
        starts[routes[i].expert + 1] += op->experts[routes[i].expert] != NULL;
    }
    for (uint32_t e = 0; e < op->n_experts; e++) {
        if (starts[e + 1] > 0) {
            groups[n_groups++] = (struct group){.tokens = tokens + starts[e],
                                                .slots = slots + starts[e],
                                                .weights = weights + starts[e],
                                                .first = starts[e],
                                                .n = starts[e + 1],
                                                .expert = e};
        }
        starts[e + 1] += starts[e];
    }
    *ret_sorted = (struct sorted){groups, n_groups, starts[op->n_experts]};
    for (uint32_t i = 0; i < op->n_routes; i++) {
        if (op->experts[routes[i].expert] != NULL) {
            const uint32_t at = starts[routes[i].expert]++;
            tokens[at] = routes[i].token;
            slots[at] = routes[i].slot;
            weights[at] = routes[i].weight;
        }
    }
}

/* Without a group for tiles, as in decoding, nobody looks at blocks. */
static void
leave_out_blocks(struct ffn *work)
{
    uint64_t most = 0;
    for (uint64_t i = 0; i < work->n_groups; i++) {
        most = work->groups[i].n > most ? work->groups[i].n : most;
    }
    for (int i = 0; i < 2 && most < CPU_TILED_TOKENS; i++) {
        work->wanted[i].forms &= ~(uint32_t)CPU_FORM_BLOCKS;
    }
}

/* Returns x, or NULL: the call has failed, or nothing is to be done (n_groups 0). */
static const float *
take_experts(struct host_call *call, const struct hearth_op_expert_ffn *op, struct ffn *work)
{
    struct sorted sorted = {NULL, 0, 0};
    const float *x = host_view_f32(call, "x", op->x, op->n, op->dim);
    const struct hearth_route *routes = host_view(call, "routes", op->routes, op->n_routes, 1, sizeof *routes);
    *work = (struct ffn){
        .native = call->native, .contract = true, .dim = op->dim, .inner = op->inner, .limit = op->limit};
    work->y = host_view_f32(call, "y", op->y, op->n_slots, op->dim);
    if (call->status < 0 || !host_call_check(call, op->experts != NULL, "experts: an array wanted, none given") ||
        !host_call_check(call, op->inner > 0, "inner: 1 or more wanted") || !check_routes(call, op, routes)) {
        return NULL;
    }
    sort_routes(call, op, routes, &sorted);
    for (uint64_t i = 0; i < sorted.n_groups && call->status == 0; i++) {
        struct group *group = &sorted.groups[i];
        take_matrices(call, work, op->experts[group->expert], group);
    }
    work->groups = sorted.groups;
    work->n_groups = sorted.n_groups;
    work->n_hidden = sorted.n_routes;
    leave_out_blocks(work);
    return call->status < 0 || sorted.n_groups == 0 ? NULL : x;
}

/* group: lives as long as work */
static const float *
take_shared(struct host_call *call, const struct hearth_op_shared_ffn *op, struct ffn *work, struct group *group)
{
    const float *x = host_view_f32(call, "x", op->x, op->n, op->dim);
    *group = (struct group){.n = op->n};
    *work = (struct ffn){.native = call->native,
                         .dim = op->dim,
                         .inner = op->inner,
                         .limit = op->limit,
                         .groups = group,
                         .n_groups = 1,
                         .n_hidden = op->n};
    work->y = host_view_f32(call, "y", op->y, op->n, op->dim);
    if (call->status == 0 && host_call_check(call, op->inner > 0, "inner: 1 or more wanted")) {
        take_matrices(call, work, op->expert, group);
    }
    return call->status < 0 ? NULL : x;
}

void
cpu_expert_ffn(struct host_call *call, const struct hearth_op_expert_ffn *op)
{
    struct ffn work;
    const float *x = take_experts(call, op, &work);
    if (x != NULL) {
        run_parts(call, &work, 1, x, op->n);
    }
}

void
cpu_shared_ffn(struct host_call *call, const struct hearth_op_shared_ffn *op)
{
    struct ffn work;
    struct group group;
    const float *x = take_shared(call, op, &work, &group);
    if (x != NULL) {
        run_parts(call, &work, 1, x, op->n);
    }
}

void
cpu_experts_shared(struct host_call *call, const struct hearth_op_expert_ffn *experts,
                   const struct hearth_op_shared_ffn *shared)
{
    struct ffn work[2];
    struct group group;
    call->op = "shared_ffn";
    const float *x = take_shared(call, shared, &work[0], &group);
    if (x == NULL) {
        return;
    }
    call->op = "expert_ffn";
    const bool has_routes = take_experts(call, experts, &work[1]) != NULL;
    if (call->status == 0) {
        run_parts(call, work, has_routes ? 2 : 1, x, shared->n);
    }
}
