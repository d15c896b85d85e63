noinst_LTLIBRARIES += core/sampler/libsampler.la
core_sampler_libsampler_la_SOURCES = core/sampler/sampler.c
