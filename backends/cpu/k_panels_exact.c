/* k_panels_exact.c - panels of e2m1 weights with f32 activations: the exact numerics. */
#include "backends/cpu/panels.h"

/* f32 activations: a weight's exact value times x, summed in f32.  x: [n_padded] */
LANE void
sum_panel_exact(const unsigned char *panel, uint64_t n_blocks, const float *x, vf totals[PARTS])
{
    for (unsigned part = 0; part < PARTS; part++) {
        totals[part] = vf_zero();
        for (uint64_t block = 0; block < n_blocks; block++) {
            const uint8_t *codes = block_codes(panel, block) + part * 4 * W;
            const vi code = vi_load_u8(block_scales(panel, block) + part * W);
            /* half of a scale: e8m0 code 0 is 2^-127, its half and that of 2^-126 are subnormal */
            const vf scale =
                vf_mul(vf_from_bits(vi_or(vi_sll(code, 23), vi_and(vi_equal(code, vi_zero()), vi_set1(0x400000)))),
                       vf_set1(0.5f));
            const vi nan = vi_and(vi_equal(code, vi_set1(HEARTH_E8M0_NAN)), vi_set1(0x7FC00000));
            vf sum = vf_zero();
            for (unsigned j = 0; j < BLOCK / 8; j++) {
                vi raw = vi_load(codes + 4 * CPU_PANEL_ROWS * j);
                const float *values = x + block * BLOCK + 8 * j;
                for (unsigned b = 0; b < 4; b++) {
                    sum = vf_fma(vf_twice_e2m1(raw), vf_set1(values[b]), sum);
                    sum = vf_fma(vf_twice_e2m1(vi_srl(raw, 4)), vf_set1(values[4 + b]), sum);
                    raw = vi_srl(raw, 8);
                }
            }
            totals[part] = vf_fma(sum, vf_from_bits(vi_or(vf_to_bits(scale), nan)), totals[part]);
        }
    }
}

void
TIERED(k_panels_exact)(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    const struct cpu_input *input = product->input;
    for (uint64_t panel = begin / CPU_PANEL_ROWS; panel * CPU_PANEL_ROWS < end; panel++) {
        const unsigned char *codes = product->weight->data + panel * panel_bytes(product->weight);
        for (uint64_t i = 0; i < product->n_tokens; i++) {
            vf totals[PARTS];
            sum_panel_exact(codes, input->n_padded / BLOCK, input->plain + cpu_token_of(product, i) * input->n_padded,
                            totals);
            put_panel(product, i, panel, totals);
        }
    }
}
