/* tier.c - which kernels this processor can run.  The compiler's probe also asks whether the system saves the
 * registers. */
#include <cpuid.h>
#include <stdbool.h>
#include <string.h>

#include "backends/cpu/kernels.h"

static const struct {
    const char *name;
    const struct cpu_kernels *kernels;
} tiers[CPU_N_TIERS] = {
    [CPU_TIER_AVX2] = {"avx2", &cpu_kernels_avx2},
    [CPU_TIER_AVX512] = {"avx512", &cpu_kernels_avx512},
    [CPU_TIER_VNNI] = {"vnni", &cpu_kernels_vnni},
    [CPU_TIER_BF16] = {"bf16", &cpu_kernels_bf16},
};

/* Not every compiler's probe knows this one.  It needs the registers of AVX, which the probe for AVX2 has asked for. */
static bool
has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

int
cpu_tier_best(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) {
        return -1;
    }
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
        return CPU_TIER_AVX2;
    }
    if (!__builtin_cpu_supports("avx512vnni")) {
        return CPU_TIER_AVX512;
    }
    /* VBMI goes with it: Cooper Lake alone has BF16 without, and takes VNNI */
    const bool has_pairs = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi");
    return has_pairs ? CPU_TIER_BF16 : CPU_TIER_VNNI;
}

const char *
cpu_tier_name(int tier)
{
    return tiers[tier].name;
}

int
cpu_tier_find(const char *name)
{
    for (int tier = 0; tier < CPU_N_TIERS; tier++) {
        if (strcmp(tiers[tier].name, name) == 0) {
            return tier;
        }
    }
    return -1;
}

const struct cpu_kernels *
cpu_tier_kernels(int tier)
{
    return tiers[tier].kernels;
}
