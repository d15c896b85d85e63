noinst_LTLIBRARIES += core/session/libsession.la
core_session_libsession_la_SOURCES = \
	core/session/pretend.c core/session/session.c core/session/session.h core/session/session_internal.h \
	core/session/snapshot.c core/session/undo.c
core_session_libsession_la_CFLAGS = $(AM_CFLAGS) $(LIBMD_CFLAGS)
core_session_libsession_la_LIBADD = $(LIBMD_LIBS)
