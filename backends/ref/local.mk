# The scalar reference.  plugins/ref.c, its socket, is compiled into it so that STATIC_PLUGINS can link both.
if BUILD_REF
noinst_LTLIBRARIES += backends/ref/libref.la
endif
backends_ref_libref_la_SOURCES = \
	backends/ref/attention.c \
	backends/ref/compress.c \
	backends/ref/device.c \
	backends/ref/embed.c \
	backends/ref/expert.c \
	backends/ref/indexer.c \
	backends/ref/kv.c \
	backends/ref/linear.c \
	backends/ref/mhc.c \
	backends/ref/moe_sum.c \
	backends/ref/output_groups.c \
	backends/ref/parallel.c \
	backends/ref/product.c \
	backends/ref/quantize.c \
	backends/ref/ref.h \
	backends/ref/rmsnorm.c \
	backends/ref/rope.c \
	backends/ref/router.c \
	plugins/ref.c
