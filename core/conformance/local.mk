noinst_LTLIBRARIES += core/conformance/libconformance.la
core_conformance_libconformance_la_SOURCES = \
	core/conformance/check.h \
	core/conformance/check_attention.c \
	core/conformance/check_compress.c \
	core/conformance/check_embed.c \
	core/conformance/check_expert_ffn.c \
	core/conformance/check_index_query.c \
	core/conformance/check_index_topk.c \
	core/conformance/check_kv_append.c \
	core/conformance/check_linear.c \
	core/conformance/check_mhc_head.c \
	core/conformance/check_mhc_post.c \
	core/conformance/check_mhc_pre.c \
	core/conformance/check_moe_sum.c \
	core/conformance/check_output_groups.c \
	core/conformance/check_query_rope.c \
	core/conformance/check_rmsnorm.c \
	core/conformance/check_router.c \
	core/conformance/check_shared_ffn.c \
	core/conformance/conformance.c core/conformance/conformance.h \
	core/conformance/ffn.c core/conformance/ffn.h \
	core/conformance/judge.c core/conformance/judge.h \
	core/conformance/mixes.c core/conformance/mixes.h \
	core/conformance/loan.c \
	core/conformance/rig.c core/conformance/rig.h \
	core/conformance/rows.c \
	core/conformance/speed.c core/conformance/speed.h core/conformance/speed_work.c \
	core/conformance/trial.c
