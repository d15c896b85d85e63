# The conformance suite.  Without --plugin it checks the reference, which is linked in.
if BUILD_REF
check_PROGRAMS += tests/kernels/check-kernels
TESTS += tests/kernels/check-kernels
endif
tests_kernels_check_kernels_SOURCES = \
	tests/kernels/check.h \
	tests/kernels/check_attention.c \
	tests/kernels/check_compress.c \
	tests/kernels/check_embed.c \
	tests/kernels/check_expert_ffn.c \
	tests/kernels/check_index_query.c \
	tests/kernels/check_index_topk.c \
	tests/kernels/check_kernels.c \
	tests/kernels/check_kv_append.c \
	tests/kernels/check_linear.c \
	tests/kernels/check_mhc_head.c \
	tests/kernels/check_mhc_post.c \
	tests/kernels/check_mhc_pre.c \
	tests/kernels/check_moe_sum.c \
	tests/kernels/check_output_groups.c \
	tests/kernels/check_query_rope.c \
	tests/kernels/check_rmsnorm.c \
	tests/kernels/check_router.c \
	tests/kernels/check_shared_ffn.c \
	tests/kernels/ffn.c tests/kernels/ffn.h \
	tests/kernels/mixes.c tests/kernels/mixes.h \
	tests/kernels/rig.c tests/kernels/rig.h \
	tests/kernels/rows.c \
	tests/kernels/trial.c
tests_kernels_check_kernels_LDADD = backends/ref/libref.la backends/host/libhost.la

# The x86-64 backend, tier by tier.
EXTRA_DIST += tests/kernels/cpu-tiers
if BUILD_REF
if BUILD_CPU
if !STATIC_PLUGINS
TESTS += tests/kernels/cpu-tiers
endif
endif
endif

# The reference against numbers made elsewhere.
if BUILD_REF
if HAVE_CHECK
check_PROGRAMS += tests/kernels/ref_test
TESTS += tests/kernels/ref_test
endif
endif
EXTRA_DIST += tests/golden/data/units.safetensors
tests_kernels_ref_test_SOURCES = tests/kernels/ref_test.c tests/kernels/units.c tests/kernels/units.h
tests_kernels_ref_test_CPPFLAGS = $(AM_CPPFLAGS) -DSOURCE_FOLDER='"$(abs_top_srcdir)"'
tests_kernels_ref_test_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JSONC_CFLAGS)
tests_kernels_ref_test_LDADD = backends/ref/libref.la backends/host/libhost.la $(CHECK_LIBS) $(JSONC_LIBS)
