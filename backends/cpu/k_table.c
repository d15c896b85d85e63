/* k_table.c - one tier's kernels as a table. */
#include "backends/cpu/kernels_tiered.h"

#define CPU_STRING2(x) #x
#define CPU_STRING(x) CPU_STRING2(x)

const struct cpu_kernels TIERED(cpu_kernels) = {
    .name = CPU_STRING(CPU_TIER),
    .plain = TIERED(k_plain),
    .split = TIERED(k_split),
    .quantise = TIERED(k_quantise),
    .dequantise = TIERED(k_dequantise),
    .digits = TIERED(k_digits),
#ifdef __AVX512BF16__
    .pairs = TIERED(k_pairs),
    .rows = TIERED(k_rows_pairs),
#else
    .rows = TIERED(k_rows),
#endif
#ifdef CPU_TILES
    .blocks = TIERED(k_blocks),
    .panels = TIERED(k_tile_panels),
#else
    .panels = TIERED(k_panels),
#endif
    .panels_exact = TIERED(k_panels_exact),
    .rows_exact = TIERED(k_rows_exact),
    .swiglu = TIERED(k_swiglu),
    .normalise = TIERED(k_normalise),
    .norm_head = TIERED(k_norm_head),
    .turn = TIERED(k_turn),
    .hadamard = TIERED(k_hadamard),
    .round_e2m1 = TIERED(k_round_e2m1),
    .round_e4m3 = TIERED(k_round_e4m3),
#ifdef CPU_TILES
    .attend_fits = TIERED(k_tile_attend_fits),
    .attend_turn = TIERED(k_tile_attend_turn),
    .attend_scores = TIERED(k_tile_attend_scores),
    .attend_weigh = TIERED(k_tile_attend_weigh),
    .attend_sum = TIERED(k_tile_attend_sum),
    .index = TIERED(k_tile_index),
    .index_query = TIERED(k_tile_index_query),
#else
    .attend_turn = TIERED(k_attend_turn),
    .attend_scores = TIERED(k_attend_scores),
    .attend_weigh = TIERED(k_attend_weigh),
    .attend_sum = TIERED(k_attend_sum),
    .index = TIERED(k_index),
    .index_query = TIERED(k_index_query),
#endif
    .choose = TIERED(k_choose),
    .squares = TIERED(k_squares),
    .collapse = TIERED(k_collapse),
    .balance4 = TIERED(k_balance4),
    .expand = TIERED(k_expand),
    .moe_sum = TIERED(k_moe_sum),
    .affinities = TIERED(k_affinities),
    .pool = TIERED(k_pool),
    .pack_panel = TIERED(k_pack_panel),
    .unpack_panel = TIERED(k_unpack_panel),
    .pack_e4m3 = TIERED(k_pack_e4m3),
    .roof_dots = TIERED(k_roof_dots),
    .roof_fmas = TIERED(k_roof_fmas),
    .roof_read = TIERED(k_roof_read),
#ifdef CPU_TILES
    .dot_name = "tdpbf16ps",
#elif defined __AVX512VNNI__
    .dot_name = "vpdpbusd, two digits",
#else
    .dot_name = "vpmaddubsw, two digits",
#endif
};
