bin_PROGRAMS += hearth
hearth_SOURCES = \
	core/front/args.c core/front/args.h core/front/args_help.c core/front/args_internal.h \
	core/front/bench.c core/front/bench.h core/front/bench_report.c core/front/bench_report.h \
	core/front/bench_figures.c core/front/bench_figures.h core/front/bench_synthetic.c \
	core/front/chat.c core/front/chat_line.c core/front/chat_line.h \
	core/front/config.c \
	core/front/devices.c \
	core/front/eval.c core/front/eval.h core/front/eval_passkey.c core/front/eval_ppl.c \
	core/front/front.h \
	core/front/generate.c core/front/generate.h \
	core/front/hearth.c \
	core/front/help.c \
	core/front/human.c core/front/human.h \
	core/front/inspect.c \
	core/front/interrupt.c core/front/interrupt.h \
	core/front/out.c core/front/out.h \
	core/front/passkey.c core/front/passkey.h \
	core/front/plan.c \
	core/front/plugin_check.c core/front/plugin_check_report.c core/front/plugin_check_report.h \
	core/front/progress.c core/front/progress.h \
	core/front/render.c core/front/render.h core/front/render_grid.c core/front/render_grid.h \
	core/front/report.c core/front/report.h \
	core/front/run.c \
	core/front/show.c core/front/show.h \
	core/front/svg.c core/front/svg.h \
	core/front/talk.c core/front/talk.h core/front/talk_answer.c core/front/talk_answer.h \
	core/front/version.c
hearth_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS) $(LIBEDIT_CFLAGS)
# libhearth exports the public calls only; JSON, text and error lines of the program come from the base room itself
hearth_LDADD = libhearth.la core/base/libbase.la $(LIBEDIT_LIBS)

bashcompdir = $(datadir)/bash-completion/completions
dist_bashcomp_DATA = core/front/completion/hearth
