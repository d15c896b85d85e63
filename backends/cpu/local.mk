# The x86-64 backend.  Kernel files are compiled once for each tier with its own instructions, and with none elsewhere: what runs
# is chosen when the program runs.  plugins/cpu.c, its socket, is compiled into the backend so that STATIC_PLUGINS can link it.
if BUILD_CPU
noinst_LTLIBRARIES += \
	backends/cpu/libcpu-avx2.la \
	backends/cpu/libcpu-avx512.la \
	backends/cpu/libcpu-vnni.la \
	backends/cpu/libcpu-bf16.la \
	backends/cpu/libcpu.la
if BUILD_AMX
noinst_LTLIBRARIES += backends/cpu/libcpu-amx.la
endif
endif
CPU_KERNELS = \
	backends/cpu/index.h \
	backends/cpu/k_attend.c \
	backends/cpu/k_choose.c \
	backends/cpu/k_index.c \
	backends/cpu/k_index_bytes.c \
	backends/cpu/k_input.c \
	backends/cpu/k_layer.c \
	backends/cpu/k_pack.c \
	backends/cpu/k_pair_rows.c \
	backends/cpu/k_pairs.c \
	backends/cpu/k_panels.c \
	backends/cpu/k_panels_exact.c \
	backends/cpu/k_roof.c \
	backends/cpu/k_rows.c \
	backends/cpu/k_table.c \
	backends/cpu/kernels.h \
	backends/cpu/kernels_tiered.h \
	backends/cpu/lanes.h \
	backends/cpu/lanes256.h \
	backends/cpu/lanes512.h \
	backends/cpu/pairs.h \
	backends/cpu/panels.h
CPU_TILE_KERNELS = \
	backends/cpu/k_tile_attend.c \
	backends/cpu/k_tile_index.c \
	backends/cpu/k_tile_panels.c \
	backends/cpu/k_tile_rows.c \
	backends/cpu/tiles.h
CPU_AVX2 = -mavx2 -mfma -mf16c -mbmi -mbmi2
CPU_AVX512 = $(CPU_AVX2) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512

backends_cpu_libcpu_avx2_la_SOURCES = $(CPU_KERNELS)
backends_cpu_libcpu_avx2_la_CPPFLAGS = $(AM_CPPFLAGS) -DCPU_TIER=avx2
backends_cpu_libcpu_avx2_la_CFLAGS = $(AM_CFLAGS) $(CPU_AVX2)

backends_cpu_libcpu_avx512_la_SOURCES = $(CPU_KERNELS)
backends_cpu_libcpu_avx512_la_CPPFLAGS = $(AM_CPPFLAGS) -DCPU_TIER=avx512
backends_cpu_libcpu_avx512_la_CFLAGS = $(AM_CFLAGS) $(CPU_AVX512)

backends_cpu_libcpu_vnni_la_SOURCES = $(CPU_KERNELS)
backends_cpu_libcpu_vnni_la_CPPFLAGS = $(AM_CPPFLAGS) -DCPU_TIER=vnni
backends_cpu_libcpu_vnni_la_CFLAGS = $(AM_CFLAGS) $(CPU_AVX512) -mavx512vnni

backends_cpu_libcpu_bf16_la_SOURCES = $(CPU_KERNELS)
backends_cpu_libcpu_bf16_la_CPPFLAGS = $(AM_CPPFLAGS) -DCPU_TIER=bf16
backends_cpu_libcpu_bf16_la_CFLAGS = $(AM_CFLAGS) $(CPU_AVX512) -mavx512vnni -mavx512bf16 -mavx512vbmi

backends_cpu_libcpu_amx_la_SOURCES = $(CPU_KERNELS) $(CPU_TILE_KERNELS)
backends_cpu_libcpu_amx_la_CPPFLAGS = $(AM_CPPFLAGS) -DCPU_TIER=amx -DCPU_TILES
backends_cpu_libcpu_amx_la_CFLAGS = $(backends_cpu_libcpu_bf16_la_CFLAGS) -mamx-tile -mamx-bf16 -mamx-int8

backends_cpu_libcpu_la_SOURCES = \
	backends/cpu/attention.c \
	backends/cpu/compress.c \
	backends/cpu/cpu.h \
	backends/cpu/device.c \
	backends/cpu/embed.c \
	backends/cpu/expert.c \
	backends/cpu/head.c \
	backends/cpu/indexer.c \
	backends/cpu/input.c \
	backends/cpu/joint.c \
	backends/cpu/joint.h \
	backends/cpu/kv.c \
	backends/cpu/linear.c \
	backends/cpu/mhc.c \
	backends/cpu/moe_sum.c \
	backends/cpu/output_groups.c \
	backends/cpu/place.c \
	backends/cpu/place.h \
	backends/cpu/pool.c \
	backends/cpu/product.c \
	backends/cpu/rmsnorm.c \
	backends/cpu/roof.c \
	backends/cpu/router.c \
	backends/cpu/slab.c \
	backends/cpu/tier.c \
	backends/cpu/turn.c \
	backends/cpu/unpack.c \
	backends/cpu/weight.c \
	plugins/cpu.c
backends_cpu_libcpu_la_CFLAGS = $(AM_CFLAGS) $(HWLOC_CFLAGS)
backends_cpu_libcpu_la_LIBADD = \
	$(HWLOC_LIBS) \
	backends/cpu/libcpu-avx2.la \
	backends/cpu/libcpu-avx512.la \
	backends/cpu/libcpu-vnni.la \
	backends/cpu/libcpu-bf16.la
if BUILD_AMX
backends_cpu_libcpu_la_LIBADD += backends/cpu/libcpu-amx.la
endif
