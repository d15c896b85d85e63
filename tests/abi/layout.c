/* layout.c - prints the plugin ABI as numbers, one fact a line: the version, every struct's size, every member's offset
 * and size, every code's value.  tests/abi/check compares them with plugin-abi.txt.
 *
 * A struct is FIXED (never changes: it lies in arrays or in the caller's memory, or is an operation's arguments) or
 * GROWS (has struct_size; members are added at the end with a new minor).  Exits 1 if a struct has a member that this
 * list does not name. */
#include <stddef.h>
#include <stdio.h>

#include <hearth/plugin.h>

/* The struct that is being printed: how far its members were named. */
static struct {
    const char *name;
    size_t size, align, end;
} current;

static int n_unnamed;

/* From the last named member to offset, where something aligned so begins or the struct ends, there may be padding but
 * no more. */
static void
close_gap(size_t offset, size_t align)
{
    if (current.name && offset - current.end >= align) {
        printf("struct %s: a member at offset %zu is not named in layout.c\n", current.name, current.end);
        n_unnamed++;
    }
}

static void
begin(const char *name, const char *kind, size_t size, size_t align)
{
    close_gap(current.size, current.align);
    current.name = name;
    current.size = size;
    current.align = align;
    current.end = 0;
    printf("struct %s %s %zu\n", name, kind, size);
}

static void
member(const char *name, const char *text, size_t offset, size_t size, size_t align)
{
    close_gap(offset, align);
    current.end = offset + size;
    printf("member %s.%s %zu %zu\n", name, text, offset, size);
}

#define FIXED(s) begin(#s, "fixed", sizeof(struct s), __alignof__(struct s));
#define GROWS(s) begin(#s, "grows", sizeof(struct s), __alignof__(struct s));
#define M(s, m) \
    member(#s, #m, offsetof(struct s, m), sizeof(((struct s *)0)->m), __alignof__(((struct s *)0)->m));
#define VALUE(v) printf("value %s %d\n", #v, (int)(v));

static void
print_structs(void)
{
    FIXED(hearth_error)
    M(hearth_error, status) M(hearth_error, native) M(hearth_error, text)
    FIXED(hearth_view)
    M(hearth_view, buffer) M(hearth_view, offset)
    FIXED(hearth_route)
    M(hearth_route, token) M(hearth_route, slot) M(hearth_route, expert) M(hearth_route, weight)
    FIXED(hearth_op_embed)
    M(hearth_op_embed, ids) M(hearth_op_embed, streams) M(hearth_op_embed, table) M(hearth_op_embed, n)
    M(hearth_op_embed, n_streams) M(hearth_op_embed, dim)
    FIXED(hearth_op_mhc_pre)
    M(hearth_op_mhc_pre, streams) M(hearth_op_mhc_pre, normed) M(hearth_op_mhc_pre, post) M(hearth_op_mhc_pre, comb)
    M(hearth_op_mhc_pre, fn) M(hearth_op_mhc_pre, base) M(hearth_op_mhc_pre, scale) M(hearth_op_mhc_pre, norm)
    M(hearth_op_mhc_pre, n) M(hearth_op_mhc_pre, n_streams) M(hearth_op_mhc_pre, dim) M(hearth_op_mhc_pre, n_sinkhorn)
    M(hearth_op_mhc_pre, norm_eps) M(hearth_op_mhc_pre, hc_eps)
    FIXED(hearth_op_mhc_post)
    M(hearth_op_mhc_post, streams) M(hearth_op_mhc_post, result) M(hearth_op_mhc_post, post)
    M(hearth_op_mhc_post, comb) M(hearth_op_mhc_post, n) M(hearth_op_mhc_post, n_streams) M(hearth_op_mhc_post, dim)
    FIXED(hearth_op_mhc_head)
    M(hearth_op_mhc_head, streams) M(hearth_op_mhc_head, normed) M(hearth_op_mhc_head, fn) M(hearth_op_mhc_head, base)
    M(hearth_op_mhc_head, scale) M(hearth_op_mhc_head, norm) M(hearth_op_mhc_head, n) M(hearth_op_mhc_head, n_streams)
    M(hearth_op_mhc_head, dim) M(hearth_op_mhc_head, norm_eps) M(hearth_op_mhc_head, hc_eps)
    FIXED(hearth_op_rmsnorm)
    M(hearth_op_rmsnorm, x) M(hearth_op_rmsnorm, y) M(hearth_op_rmsnorm, norm) M(hearth_op_rmsnorm, n)
    M(hearth_op_rmsnorm, dim) M(hearth_op_rmsnorm, eps)
    FIXED(hearth_op_linear)
    M(hearth_op_linear, x) M(hearth_op_linear, y) M(hearth_op_linear, weight) M(hearth_op_linear, n)
    M(hearth_op_linear, n_in) M(hearth_op_linear, n_out) M(hearth_op_linear, round_output)
    FIXED(hearth_op_query_rope)
    M(hearth_op_query_rope, q) M(hearth_op_query_rope, inv_freq) M(hearth_op_query_rope, position)
    M(hearth_op_query_rope, n) M(hearth_op_query_rope, n_heads) M(hearth_op_query_rope, head_dim)
    M(hearth_op_query_rope, rope_dim) M(hearth_op_query_rope, eps)
    FIXED(hearth_op_kv_append)
    M(hearth_op_kv_append, kv) M(hearth_op_kv_append, ring) M(hearth_op_kv_append, norm)
    M(hearth_op_kv_append, inv_freq) M(hearth_op_kv_append, position) M(hearth_op_kv_append, n)
    M(hearth_op_kv_append, head_dim) M(hearth_op_kv_append, rope_dim) M(hearth_op_kv_append, ring_slots)
    M(hearth_op_kv_append, kv_format) M(hearth_op_kv_append, eps)
    FIXED(hearth_op_compress)
    M(hearth_op_compress, values) M(hearth_op_compress, gates) M(hearth_op_compress, state)
    M(hearth_op_compress, entries) M(hearth_op_compress, ape) M(hearth_op_compress, norm)
    M(hearth_op_compress, inv_freq) M(hearth_op_compress, position) M(hearth_op_compress, n)
    M(hearth_op_compress, ratio) M(hearth_op_compress, width) M(hearth_op_compress, rope_dim)
    M(hearth_op_compress, kv_format) M(hearth_op_compress, overlap) M(hearth_op_compress, kind)
    M(hearth_op_compress, eps)
    FIXED(hearth_op_index_query)
    M(hearth_op_index_query, q) M(hearth_op_index_query, inv_freq) M(hearth_op_index_query, position)
    M(hearth_op_index_query, n) M(hearth_op_index_query, n_heads) M(hearth_op_index_query, width)
    M(hearth_op_index_query, rope_dim)
    FIXED(hearth_op_index_topk)
    M(hearth_op_index_topk, q) M(hearth_op_index_topk, head_weights) M(hearth_op_index_topk, keys)
    M(hearth_op_index_topk, indices) M(hearth_op_index_topk, position) M(hearth_op_index_topk, n)
    M(hearth_op_index_topk, n_heads) M(hearth_op_index_topk, width) M(hearth_op_index_topk, ratio)
    M(hearth_op_index_topk, top_k) M(hearth_op_index_topk, kv_format)
    FIXED(hearth_op_attention)
    M(hearth_op_attention, q) M(hearth_op_attention, ring) M(hearth_op_attention, entries)
    M(hearth_op_attention, indices) M(hearth_op_attention, o) M(hearth_op_attention, sinks)
    M(hearth_op_attention, inv_freq) M(hearth_op_attention, position) M(hearth_op_attention, n)
    M(hearth_op_attention, n_heads) M(hearth_op_attention, head_dim) M(hearth_op_attention, rope_dim)
    M(hearth_op_attention, window) M(hearth_op_attention, ring_slots) M(hearth_op_attention, ratio)
    M(hearth_op_attention, top_k) M(hearth_op_attention, kv_format)
    FIXED(hearth_op_output_groups)
    M(hearth_op_output_groups, o) M(hearth_op_output_groups, y) M(hearth_op_output_groups, weight)
    M(hearth_op_output_groups, n) M(hearth_op_output_groups, n_groups) M(hearth_op_output_groups, width)
    M(hearth_op_output_groups, rank)
    FIXED(hearth_op_router)
    M(hearth_op_router, x) M(hearth_op_router, ids) M(hearth_op_router, routes) M(hearth_op_router, gate)
    M(hearth_op_router, bias) M(hearth_op_router, table) M(hearth_op_router, n) M(hearth_op_router, dim)
    M(hearth_op_router, n_experts) M(hearth_op_router, top_k) M(hearth_op_router, route_scale)
    FIXED(hearth_op_expert_ffn)
    M(hearth_op_expert_ffn, x) M(hearth_op_expert_ffn, routes) M(hearth_op_expert_ffn, y)
    M(hearth_op_expert_ffn, experts) M(hearth_op_expert_ffn, n) M(hearth_op_expert_ffn, n_routes)
    M(hearth_op_expert_ffn, n_slots) M(hearth_op_expert_ffn, n_experts) M(hearth_op_expert_ffn, dim)
    M(hearth_op_expert_ffn, inner) M(hearth_op_expert_ffn, limit)
    FIXED(hearth_op_shared_ffn)
    M(hearth_op_shared_ffn, x) M(hearth_op_shared_ffn, y) M(hearth_op_shared_ffn, expert) M(hearth_op_shared_ffn, n)
    M(hearth_op_shared_ffn, dim) M(hearth_op_shared_ffn, inner) M(hearth_op_shared_ffn, limit)
    FIXED(hearth_op_moe_sum)
    M(hearth_op_moe_sum, parts) M(hearth_op_moe_sum, routes) M(hearth_op_moe_sum, shared) M(hearth_op_moe_sum, y)
    M(hearth_op_moe_sum, n) M(hearth_op_moe_sum, top_k) M(hearth_op_moe_sum, dim)
    FIXED(hearth_command)
    M(hearth_command, op) M(hearth_command, numerics) M(hearth_command, args)
    GROWS(hearth_host)
    M(hearth_host, struct_size) M(hearth_host, context) M(hearth_host, log) M(hearth_host, option)
    GROWS(hearth_device_info)
    M(hearth_device_info, struct_size) M(hearth_device_info, flags) M(hearth_device_info, name)
    M(hearth_device_info, pci_address) M(hearth_device_info, memory_bytes) M(hearth_device_info, max_buffer_bytes)
    M(hearth_device_info, align_bytes) M(hearth_device_info, read_bytes_per_second)
    M(hearth_device_info, packed_layout) M(hearth_device_info, driver) M(hearth_device_info, features)
    GROWS(hearth_roof)
    M(hearth_roof, struct_size) M(hearth_roof, reserved) M(hearth_roof, read_bytes_per_second)
    M(hearth_roof, operations_per_second) M(hearth_roof, exact_operations_per_second) M(hearth_roof, operation)
    M(hearth_roof, launch_seconds) M(hearth_roof, n_launches)
    FIXED(hearth_matrix)
    M(hearth_matrix, dtype) M(hearth_matrix, reserved) M(hearth_matrix, rows) M(hearth_matrix, cols)
    M(hearth_matrix, data) M(hearth_matrix, scales) M(hearth_matrix, data_bytes) M(hearth_matrix, scales_bytes)
    GROWS(hearth_plugin)
    M(hearth_plugin, abi) M(hearth_plugin, struct_size) M(hearth_plugin, name) M(hearth_plugin, version)
    M(hearth_plugin, start) M(hearth_plugin, stop) M(hearth_plugin, describe) M(hearth_plugin, open)
    M(hearth_plugin, close) M(hearth_plugin, buffer_alloc) M(hearth_plugin, buffer_free)
    M(hearth_plugin, buffer_write) M(hearth_plugin, buffer_read) M(hearth_plugin, buffer_host)
    M(hearth_plugin, weight_create) M(hearth_plugin, weight_free) M(hearth_plugin, supports) M(hearth_plugin, submit)
    M(hearth_plugin, event_wait) M(hearth_plugin, event_free) M(hearth_plugin, packed_bytes)
    M(hearth_plugin, weight_pack) M(hearth_plugin, weight_map) M(hearth_plugin, measure)
    M(hearth_plugin, weight_read) M(hearth_plugin, weight_refill)
    close_gap(current.size, current.align);
}

static void
print_values(void)
{
#define HEARTH_OP(NAME, name) VALUE(HEARTH_OP_##NAME)
#include <hearth/ops.def>
#undef HEARTH_OP
#define PRINT_DTYPE(name, bits, text) VALUE(HEARTH_##name)
    HEARTH_DTYPE_MAP(PRINT_DTYPE)
#define PRINT_STATUS(name, code, class, text) VALUE(HEARTH_##name)
    HEARTH_STATUS_MAP(PRINT_STATUS)
    VALUE(HEARTH_EXACT) VALUE(HEARTH_NATIVE)
    VALUE(HEARTH_KV_F32) VALUE(HEARTH_KV_PACKED)
    VALUE(HEARTH_ENTRY_KV) VALUE(HEARTH_ENTRY_INDEX)
    VALUE(HEARTH_LOG_ERROR) VALUE(HEARTH_LOG_WARNING) VALUE(HEARTH_LOG_INFO) VALUE(HEARTH_LOG_DEBUG)
    VALUE(HEARTH_DEVICE_HOST_MEMORY) VALUE(HEARTH_DEVICE_MAPS_WEIGHTS) VALUE(HEARTH_DEVICE_ASYNC)
    VALUE(HEARTH_WEIGHT_VECTOR) VALUE(HEARTH_WEIGHT_LINEAR) VALUE(HEARTH_WEIGHT_GROUPS)
    VALUE(HEARTH_WEIGHT_EMBEDDING) VALUE(HEARTH_WEIGHT_TABLE) VALUE(HEARTH_WEIGHT_EXPERT)
    VALUE(HEARTH_WEIGHT_SHARED) VALUE(HEARTH_WEIGHT_HEAD)
}

int
main(void)
{
    printf("abi %u %u\n", HEARTH_PLUGIN_ABI_MAJOR, HEARTH_PLUGIN_ABI_MINOR);
    print_structs();
    print_values();
    return n_unnamed > 0;
}
