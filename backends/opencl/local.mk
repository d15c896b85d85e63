# The OpenCL backend.  plugins/opencl.c, its socket, is compiled into it so that STATIC_PLUGINS can link both.  Operations are op_*.c,
# their kernels those of kernels-cl.
if BUILD_OPENCL
noinst_LTLIBRARIES += backends/opencl/libopencl.la
endif
backends_opencl_libopencl_la_SOURCES = \
	backends/opencl/attend.h \
	backends/opencl/attend_mma.c \
	backends/opencl/beside.c \
	backends/opencl/beside.h \
	backends/opencl/between.c \
	backends/opencl/between.h \
	backends/opencl/bf16_mma.c \
	backends/opencl/buffer.c \
	backends/opencl/cache.c \
	backends/opencl/call.c \
	backends/opencl/device.c \
	backends/opencl/done.def \
	backends/opencl/error.c \
	backends/opencl/event.c \
	backends/opencl/experts.c \
	backends/opencl/experts.h \
	backends/opencl/fault.c \
	backends/opencl/internal.h \
	backends/opencl/launch.c \
	backends/opencl/measure.c \
	backends/opencl/memory.c \
	backends/opencl/op_attend.c \
	backends/opencl/op_compress.c \
	backends/opencl/op_embed.c \
	backends/opencl/op_expert.c \
	backends/opencl/op_index.c \
	backends/opencl/op_kv.c \
	backends/opencl/op_linear.c \
	backends/opencl/op_mhc.c \
	backends/opencl/op_norm.c \
	backends/opencl/op_ready.c \
	backends/opencl/op_router.c \
	backends/opencl/op_sum.c \
	backends/opencl/opencl.h \
	backends/opencl/platform.c \
	backends/opencl/product.c \
	backends/opencl/product.h \
	backends/opencl/program.c \
	backends/opencl/rows.h \
	backends/opencl/settings.c \
	backends/opencl/staging.c \
	backends/opencl/submit.c \
	backends/opencl/tensor.c \
	backends/opencl/trace.c \
	backends/opencl/tuning.c \
	backends/opencl/tuning.h \
	backends/opencl/weight.c \
	plugins/opencl.c
nodist_backends_opencl_libopencl_la_SOURCES = kernels-cl/embedded.c
backends_opencl_libopencl_la_CFLAGS = $(AM_CFLAGS) $(OPENCL_CFLAGS)
backends_opencl_libopencl_la_LIBADD = $(OPENCL_LIBS)
