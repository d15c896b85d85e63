/* tier.c - which kernels this processor can run.  The compiler's probe also asks whether the system saves the
 * registers; those of AMX it saves for a process that asks for them. */
#include <config.h>

#include <cpuid.h>
#include <stdbool.h>
#include <string.h>
#ifdef HAVE_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "backends/cpu/kernels.h"

static const struct {
    const char *name;
    const struct cpu_kernels *kernels;
} tiers[CPU_N_TIERS] = {
    [CPU_TIER_AVX2] = {"avx2", &cpu_kernels_avx2}, [CPU_TIER_AVX512] = {"avx512", &cpu_kernels_avx512},
    [CPU_TIER_VNNI] = {"vnni", &cpu_kernels_vnni}, [CPU_TIER_BF16] = {"bf16", &cpu_kernels_bf16},
#ifdef HAVE_AMX
    [CPU_TIER_AMX] = {"amx", &cpu_kernels_amx},
#else
    [CPU_TIER_AMX] = {"amx", NULL},
#endif
};

/* Not every compiler's probe knows this one.  It needs the registers of AVX, which the probe for AVX2 has asked for. */
static bool
has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

#ifdef HAVE_AMX

/* Of cpuid's leaf 7, EDX; of the register that says what the system saves; and how Linux is asked. */
#define BITS_TILES (1u << 22 | 1u << 24 | 1u << 25) /* of bf16, any, and of bytes */
#define STATES_OF_TILES (3u << 17)
#define ASK_FOR_STATE 0x1023
#define STATE_TILE_DATA 18

static bool
has_tiles(void)
{
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_OSXSAVE) == 0 ||
        __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & BITS_TILES) != BITS_TILES) {
        return false;
    }
    __asm__("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (eax & STATES_OF_TILES) == STATES_OF_TILES;
}

static bool
ask_for_tiles(void)
{
    return syscall(SYS_arch_prctl, ASK_FOR_STATE, STATE_TILE_DATA) == 0;
}

#else

static bool
has_tiles(void)
{
    return false;
}

static bool
ask_for_tiles(void)
{
    return false;
}

#endif

int
cpu_tier_ask(int tier)
{
    return tier == CPU_TIER_AMX && !ask_for_tiles() ? CPU_TIER_AMX - 1 : tier;
}

int
cpu_tier_best(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2") ||
        !has_f16c()) {
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
    if (!has_pairs) {
        return CPU_TIER_VNNI;
    }
    return has_tiles() ? CPU_TIER_AMX : CPU_TIER_BF16;
}

/* Measured (HACKING.md): where dot products of pairs take twice the time of others, as on Intel's processors, they lose
 * to VNNI; on AMD's, where they do not, they win. */
int
cpu_tier_default(int best)
{
    return best == CPU_TIER_BF16 && !__builtin_cpu_is("amd") ? CPU_TIER_VNNI : best;
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
