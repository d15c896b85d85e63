noinst_LTLIBRARIES += core/session/libsession.la
core_session_libsession_la_SOURCES =
