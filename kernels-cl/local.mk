# Kernels in OpenCL C.  Their text becomes part of the OpenCL backend: no file is looked for when hearth runs.
KERNELS_CL = \
	kernels-cl/common.cl \
	kernels-cl/group.cl \
	kernels-cl/rows.cl \
	kernels-cl/attend.cl \
	kernels-cl/attend_mma.cl \
	kernels-cl/beside.cl \
	kernels-cl/between.cl \
	kernels-cl/bf16_mma.cl \
	kernels-cl/collapse.cl \
	kernels-cl/compress.cl \
	kernels-cl/embed.cl \
	kernels-cl/expert.cl \
	kernels-cl/few.cl \
	kernels-cl/index.cl \
	kernels-cl/index_mma.cl \
	kernels-cl/kv.cl \
	kernels-cl/many.cl \
	kernels-cl/measure.cl \
	kernels-cl/measure_mma.cl \
	kernels-cl/mhc.cl \
	kernels-cl/mma.cl \
	kernels-cl/norm.cl \
	kernels-cl/prepare.cl \
	kernels-cl/probe.cl \
	kernels-cl/product.cl \
	kernels-cl/ready.cl \
	kernels-cl/routed.cl \
	kernels-cl/routed_mma.cl \
	kernels-cl/routes.cl \
	kernels-cl/select.cl \
	kernels-cl/several.cl \
	kernels-cl/sum.cl \
	kernels-cl/tensor.cl \
	kernels-cl/tile.cl
EXTRA_DIST += $(KERNELS_CL) kernels-cl/embed
CLEANFILES += kernels-cl/embedded.c
kernels-cl/embedded.c: $(KERNELS_CL) kernels-cl/embed kernels-cl/local.mk
	$(AM_V_GEN)$(MKDIR_P) kernels-cl && \
	files= && for file in $(KERNELS_CL); do \
	    if test -f $$file; then files="$$files $$file"; else files="$$files $(srcdir)/$$file"; fi; done && \
	$(srcdir)/kernels-cl/embed $$files >$@.part && mv $@.part $@
