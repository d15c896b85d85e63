noinst_LTLIBRARIES += core/weights/libweights.la
core_weights_libweights_la_SOURCES = \
	core/weights/cache.c core/weights/cache.h \
	core/weights/keep.c \
	core/weights/list.c \
	core/weights/load.c \
	core/weights/weights.c core/weights/weights.h core/weights/weights_internal.h
core_weights_libweights_la_CFLAGS = $(AM_CFLAGS) $(LIBMD_CFLAGS)
core_weights_libweights_la_LIBADD = $(LIBMD_LIBS)
