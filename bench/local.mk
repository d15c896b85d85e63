# Measurements by hand, not part of `make check`.
EXTRA_PROGRAMS = bench/plugin-bench
CLEANFILES += bench/plugin-bench
bench_plugin_bench_SOURCES = bench/plugin_bench.c

# A checkpoint on disk, to be loaded.
if HAVE_CHECK
EXTRA_PROGRAMS += bench/make-checkpoint
CLEANFILES += bench/make-checkpoint
bench_make_checkpoint_SOURCES = bench/make_checkpoint.c tests/unit/checkpoint.c tests/unit/checkpoint.h
bench_make_checkpoint_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
bench_make_checkpoint_LDADD = core/model/libmodel.la core/base/libbase.la $(CHECK_LIBS) $(MATH_LIBS)
endif
