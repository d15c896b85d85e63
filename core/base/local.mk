noinst_LTLIBRARIES += core/base/libbase.la
core_base_libbase_la_SOURCES = \
	core/base/bytes.h \
	core/base/error.c core/base/error.h \
	core/base/json.c core/base/json.h \
	core/base/log.c core/base/log.h \
	core/base/noise.c core/base/noise.h \
	core/base/random.h \
	core/base/text.c core/base/text.h \
	core/base/version.c
core_base_libbase_la_CFLAGS = $(AM_CFLAGS) $(JSONC_CFLAGS)
core_base_libbase_la_LIBADD = $(JSONC_LIBS)
