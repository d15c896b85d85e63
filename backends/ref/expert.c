/* expert.c - gated feed-forward blocks: the routed experts over a list of routes, and the shared expert.
 *
 *     y = w2 (g sigmoid(g) * u * weight),   g = min(w1 x, limit),   u = clamp(w3 x, -limit, limit)
 *
 * Native numerics: the bits are part of the contract (docs/numerics.md).  x is quantised once; w1 x and w3 x are
 * rounded to bf16; the activation is f32, each step rounded; it is rounded to bf16, quantised, and goes through w2; y
 * is bf16.
 *
 * The work is cut by rows of the matrices, the same share of every expert for each thread, so that however the routes
 * fall the threads have equal work. */
#include "backends/ref/ref.h"

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

struct ffn {
    bool native;
    const struct group *groups;
    uint64_t n_groups;
    struct ref_input input;       /* x */
    struct ref_input inner_input; /* the activations */
    float *gates, *ups;           /* [n_hidden][inner] */
    uint32_t *hidden;             /* [n_hidden]: each its own index */
    float *y;
    uint64_t dim, inner;
    float limit;
    unsigned char *scratch; /* [threads][scratch_bytes] */
    uint64_t scratch_bytes;
};

static float
activate(const struct ffn *work, float gate, float up, const float *weight)
{
    if (work->native) {
        const float value = hearth_swiglu(gate, up, work->limit);
        return hearth_round_bf16(weight == NULL ? value : value * *weight);
    }
    const double g = gate > work->limit ? work->limit : gate;
    const double u = up > work->limit ? work->limit : (up < -work->limit ? -work->limit : up);
    return (float)(g / (1.0 + exp(-g)) * u * (weight == NULL ? 1.0 : (double)*weight));
}

static struct ref_product
product_of(const struct ffn *work, const struct host_matrix *weight)
{
    return (struct ref_product){
        .weight = weight,
        .chunk = HEARTH_EXPERT_CHUNK,
        .quantised = work->native && host_dtype_quantises(weight->dtype),
        .round = work->native,
    };
}

/* item: row of w1 and w3.  The activation replaces the gate. */
static void
run_up(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct ffn *work = context;
    void *scratch = work->scratch + thread * work->scratch_bytes;
    for (uint64_t i = 0; i < work->n_groups; i++) {
        const struct group *group = &work->groups[i];
        const struct host_matrix *matrices[2] = {group->w1, group->w3};
        float *outputs[2] = {work->gates + group->first * work->inner, work->ups + group->first * work->inner};
        for (int m = 0; m < 2; m++) {
            struct ref_product product = product_of(work, matrices[m]);
            product.input = &work->input;
            product.tokens = group->tokens;
            product.n_tokens = group->n;
            product.y = outputs[m];
            product.y_stride = work->inner;
            ref_product_rows(&product, begin, end, scratch);
        }
        for (uint64_t r = 0; r < group->n; r++) {
            for (uint64_t row = begin; row < end; row++) {
                const uint64_t at = r * work->inner + row;
                outputs[0][at] =
                    activate(work, outputs[0][at], outputs[1][at], group->weights == NULL ? NULL : &group->weights[r]);
            }
        }
    }
}

/* item: row of w2 */
static void
run_down(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct ffn *work = context;
    void *scratch = work->scratch + thread * work->scratch_bytes;
    for (uint64_t i = 0; i < work->n_groups; i++) {
        const struct group *group = &work->groups[i];
        struct ref_product product = product_of(work, group->w2);
        product.input = &work->inner_input;
        product.tokens = work->hidden + group->first;
        product.n_tokens = group->n;
        product.slots = group->slots;
        product.y = work->y;
        product.y_stride = work->dim;
        ref_product_rows(&product, begin, end, scratch);
    }
}

/* Fetches the three matrices of an expert and adds the forms they want to forms[0] (x) and forms[1] (activations). */
static void
take_matrices(struct host_call *call, const struct ffn *work, const struct hearth_weight *weight, struct group *group,
              uint32_t forms[2])
{
    group->w1 = host_weight(call, "w1", weight, 0, work->inner, work->dim);
    group->w3 = host_weight(call, "w3", weight, 1, work->inner, work->dim);
    group->w2 = host_weight(call, "w2", weight, 2, work->dim, work->inner);
    if (call->status == 0) {
        forms[0] |= ref_form_for(call, group->w1->dtype) | ref_form_for(call, group->w3->dtype);
        forms[1] |= ref_form_for(call, group->w2->dtype);
    }
}

/* n: rows of x; n_hidden: routes of all groups */
static void
run_groups(struct host_call *call, struct ffn *work, const float *x, uint64_t n, uint64_t n_hidden,
           const uint32_t forms[2])
{
    struct ref_pool *pool = call->device->pool;
    const uint64_t widest = work->dim > work->inner ? work->dim : work->inner;
    work->gates = host_scratch_take(call, n_hidden * work->inner, sizeof *work->gates);
    work->ups = host_scratch_take(call, n_hidden * work->inner, sizeof *work->ups);
    work->hidden = host_scratch_take(call, n_hidden, sizeof *work->hidden);
    work->scratch_bytes = ref_product_scratch(widest);
    work->scratch = host_scratch_take(call, ref_pool_threads(pool), work->scratch_bytes);
    if (call->status < 0) {
        return;
    }
    for (uint64_t i = 0; i < n_hidden; i++) {
        work->hidden[i] = (uint32_t)i;
    }
    ref_input_prepare(call, x, n, work->dim, forms[0], &work->input);
    if (call->status < 0) {
        return;
    }
    ref_pool_run(pool, work->inner, 2 * work->dim * (n_hidden + 1), (struct ref_work){run_up, work});
    ref_input_prepare(call, work->gates, n_hidden, work->inner, forms[1], &work->inner_input);
    if (call->status < 0) {
        return;
    }
    ref_pool_run(pool, work->dim, work->inner * (n_hidden + 1), (struct ref_work){run_down, work});
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

void
ref_expert_ffn(struct host_call *call, const struct hearth_op_expert_ffn *op)
{
    struct ffn work = {.native = call->native, .dim = op->dim, .inner = op->inner, .limit = op->limit};
    struct sorted sorted = {NULL, 0, 0};
    uint32_t forms[2] = {0, 0};
    const float *x = host_view_f32(call, "x", op->x, op->n, op->dim);
    const struct hearth_route *routes = host_view(call, "routes", op->routes, op->n_routes, 1, sizeof *routes);
    work.y = host_view_f32(call, "y", op->y, op->n_slots, op->dim);
    if (call->status < 0 || !host_call_check(call, op->experts != NULL, "experts: an array wanted, none given") ||
        !host_call_check(call, op->inner > 0, "inner: 1 or more wanted") || !check_routes(call, op, routes)) {
        return;
    }
    sort_routes(call, op, routes, &sorted);
    for (uint64_t i = 0; i < sorted.n_groups && call->status == 0; i++) {
        struct group *group = &sorted.groups[i];
        take_matrices(call, &work, op->experts[group->expert], group, forms);
    }
    if (call->status < 0 || sorted.n_groups == 0) {
        return;
    }
    work.groups = sorted.groups;
    work.n_groups = sorted.n_groups;
    run_groups(call, &work, x, op->n, sorted.n_routes, forms);
}

void
ref_shared_ffn(struct host_call *call, const struct hearth_op_shared_ffn *op)
{
    struct ffn work = {.native = call->native, .dim = op->dim, .inner = op->inner, .limit = op->limit};
    struct group group = {.n = op->n};
    uint32_t forms[2] = {0, 0};
    const float *x = host_view_f32(call, "x", op->x, op->n, op->dim);
    work.y = host_view_f32(call, "y", op->y, op->n, op->dim);
    take_matrices(call, &work, op->expert, &group, forms);
    if (call->status < 0) {
        return;
    }
    work.groups = &group;
    work.n_groups = 1;
    run_groups(call, &work, x, op->n, op->n, forms);
}
