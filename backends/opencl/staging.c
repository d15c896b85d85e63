/* staging.c - copies between the host's memory and the device.
 *
 * Large ones go through two pieces of pinned memory by turns: while the device fetches one, the next is filled, and
 * what is read of a mapped file meets the bus instead of waiting for it.  Weights have a queue of their own, so that
 * they travel beside the work; ocl_stage_join makes the work wait for them.  Small ones to buffers lie side by side
 * in a piece, and nobody waits for them.  A device whose memory is the host's has neither: with fine-grained SVM host
 * and device share buffers and weights (memory.c), and nothing is copied but by the host itself; without it, every
 * copy is the driver's. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "backends/opencl/internal.h"

#define PIECE_BYTES (UINT64_C(16) << 20)
#define SMALL_BYTES (UINT64_C(256) << 10)
#define SMALL_ALIGN 64u

struct piece {
    cl_mem mem;
    unsigned char *bytes;   /* mem, mapped */
    cl_command_queue queue; /* of the copies that may still use it */
    uint64_t used;          /* bytes of small ones, side by side, that have no event; 0: none */
    cl_event busy;          /* the last copy, when it has one; NULL: none */
};

struct ocl_staging {
    struct piece pieces[2];
    unsigned next;
    struct piece loans[2]; /* for experts on loan, whole ones by turns; none until the first */
    uint64_t loan_bytes;
    unsigned next_loan;
    bool is_direct; /* no pinned memory: every copy goes to the driver as it is */
};

static int
piece_new(struct hearth_device *device, uint64_t size, struct piece *piece)
{
    cl_int code;
    piece->mem = clCreateBuffer(device->context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, (size_t)size, NULL, &code);
    if (code != CL_SUCCESS) {
        piece->mem = NULL;
        return code;
    }
    piece->bytes = clEnqueueMapBuffer(device->copy_queue, piece->mem, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0,
                                      (size_t)size, 0, NULL, NULL, &code);
    return code;
}

static void
piece_free(struct hearth_device *device, struct piece *piece)
{
    if (piece->busy != NULL) {
        clReleaseEvent(piece->busy);
    }
    if (piece->bytes != NULL) {
        (void)clEnqueueUnmapMemObject(device->copy_queue, piece->mem, piece->bytes, 0, NULL, NULL);
    }
    if (piece->mem != NULL) {
        clReleaseMemObject(piece->mem);
    }
    *piece = (struct piece){0};
}

bool
ocl_copies_are_shared(const struct hearth_device *device)
{
    const struct ocl_caps *caps = &device->caps;
    return caps->fine_svm && (ocl_settings.copies == OCL_COPIES_SHARED ||
                              (ocl_settings.copies == OCL_COPIES_BY_DEVICE && caps->unified_memory));
}

int
ocl_staging_new(struct hearth_device *device, struct hearth_error *err)
{
    struct ocl_staging *staging = calloc(1, sizeof *staging);
    if (staging == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "no memory for copies");
    }
    device->staging = staging;
    if (ocl_settings.copies == OCL_COPIES_SHARED && !device->caps.fine_svm) {
        ocl_log(HEARTH_LOG_WARNING, "%s: no memory that the host shares (fine-grained SVM): copied", device->name);
    }
    staging->is_direct = ocl_settings.copies == OCL_COPIES_DIRECT || ocl_copies_are_shared(device) ||
                         (ocl_settings.copies == OCL_COPIES_BY_DEVICE &&
                          (device->caps.is_cpu || device->caps.unified_memory));
    for (unsigned i = 0; i < 2 && !staging->is_direct; i++) {
        const int code = piece_new(device, PIECE_BYTES, &staging->pieces[i]);
        if (code != CL_SUCCESS) {
            ocl_log(HEARTH_LOG_WARNING, "%s: no pinned memory for copies: %s", device->name, ocl_code_name(code));
            staging->is_direct = true;
        }
    }
    return 0;
}

void
ocl_staging_free(struct hearth_device *device)
{
    if (device->staging != NULL) {
        for (unsigned i = 0; i < 2; i++) {
            piece_free(device, &device->staging->pieces[i]);
            piece_free(device, &device->staging->loans[i]);
        }
        free(device->staging);
    }
}

/* Waits for the copies that may still use the piece. */
static int
piece_settle(struct hearth_device *device, struct piece *piece, struct hearth_error *err)
{
    if (piece->busy == NULL && piece->used > 0) {
        const cl_int code = clEnqueueMarkerWithWaitList(piece->queue, 0, NULL, &piece->busy);
        if (code != CL_SUCCESS) {
            piece->busy = NULL;
            return ocl_cl_error(err, code, "clEnqueueMarkerWithWaitList");
        }
        (void)clFlush(piece->queue);
    }
    const int status = piece->busy != NULL ? ocl_wait(device, piece->busy, ocl_settings.timeout_ns, err) : 0;
    return status == HEARTH_ETIMEOUT ? ocl_give_up(device) : status;
}

/* The next piece, for copies of the queue: when the host may fill it or, to_host, when the queue may. */
static int
piece_take(struct hearth_device *device, cl_command_queue queue, bool to_host, struct piece **ret_piece,
           struct hearth_error *err)
{
    struct piece *piece = &device->staging->pieces[device->staging->next];
    const bool in_order = to_host && piece->queue == queue;
    const int status = in_order ? 0 : piece_settle(device, piece, err);
    device->staging->next ^= 1u;
    if (status == HEARTH_ETIMEOUT) {
        return status;
    }
    if (piece->busy != NULL) {
        clReleaseEvent(piece->busy);
    }
    piece->busy = NULL;
    piece->used = 0;
    piece->queue = queue;
    *ret_piece = piece;
    return status;
}

/* Waits for the event of a copy and lets it go. */
static int
finish_copy(struct hearth_device *device, cl_int code, cl_event event, const char *what, struct hearth_error *err)
{
    if (code != CL_SUCCESS) {
        return ocl_cl_error(err, code, what);
    }
    (void)clFlush(device->queue);
    const int status = ocl_wait(device, event, ocl_settings.timeout_ns, err);
    clReleaseEvent(event);
    return status == HEARTH_ETIMEOUT ? ocl_give_up(device) : status;
}

static int
write_direct(struct hearth_device *device, cl_command_queue queue, struct ocl_span dst, const void *src, uint64_t size,
             struct hearth_error *err)
{
    cl_event event;
    if (queue == device->copy_queue) { /* nothing is before it that could hang */
        const cl_int end = clEnqueueWriteBuffer(queue, dst.mem, CL_TRUE, (size_t)dst.offset, (size_t)size, src, 0, NULL,
                                                NULL);
        return end == CL_SUCCESS ? 0 : ocl_cl_error(err, end, "copy to the device");
    }
    const int status = ocl_settle(device, ocl_settings.timeout_ns, err);
    if (status < 0) {
        return status;
    }
    const cl_int code = clEnqueueWriteBuffer(queue, dst.mem, CL_FALSE, (size_t)dst.offset, (size_t)size, src, 0, NULL,
                                             &event);
    return finish_copy(device, code, event, "copy to the device", err);
}

/* The event of the queue's last copy takes the place of the one before. */
static void
note_copied(struct hearth_device *device, cl_command_queue queue, cl_event event)
{
    if (queue != device->copy_queue) {
        return;
    }
    if (device->copied != NULL) {
        clReleaseEvent(device->copied);
    }
    clRetainEvent(event);
    device->copied = event;
}

static int
write_pieces(struct hearth_device *device, cl_command_queue queue, struct ocl_span dst, const unsigned char *src,
             uint64_t size, struct hearth_error *err)
{
    for (uint64_t done = 0; done < size;) {
        const uint64_t n = size - done < PIECE_BYTES ? size - done : PIECE_BYTES;
        struct piece *piece;
        const int status = piece_take(device, queue, false, &piece, err);
        if (status < 0) {
            return status;
        }
        memcpy(piece->bytes, src + done, (size_t)n);
        const cl_int code = clEnqueueWriteBuffer(queue, dst.mem, CL_FALSE, (size_t)(dst.offset + done), (size_t)n,
                                                 piece->bytes, 0, NULL, &piece->busy);
        if (code != CL_SUCCESS) {
            piece->busy = NULL;
            return ocl_cl_error(err, code, "copy to the device");
        }
        note_copied(device, queue, piece->busy);
        (void)clFlush(queue);
        done += n;
    }
    return 0;
}

/* A copy to a buffer that takes a place beside the last ones, if there is room. */
static int
write_small(struct hearth_device *device, struct ocl_span dst, const void *src, uint64_t size, struct hearth_error *err)
{
    struct piece *piece = &device->staging->pieces[device->staging->next ^ 1u]; /* the last one taken */
    if (piece->queue != device->queue || piece->busy != NULL || size > PIECE_BYTES - piece->used) {
        const int status = piece_take(device, device->queue, false, &piece, err);
        if (status < 0) {
            return status;
        }
    }
    unsigned char *place = piece->bytes + piece->used;
    memcpy(place, src, (size_t)size);
    piece->used += ocl_align_up(size, SMALL_ALIGN);
    const cl_int code = clEnqueueWriteBuffer(device->queue, dst.mem, CL_FALSE, (size_t)dst.offset, (size_t)size, place,
                                             0, NULL, NULL);
    return code == CL_SUCCESS ? 0 : ocl_cl_error(err, code, "copy to the device");
}

/* Makes the copy queue wait for what was submitted so far, if that may read what is now written. */
static int
order_recycled(struct hearth_device *device, struct hearth_error *err)
{
    cl_event marker;
    cl_int code = CL_SUCCESS;
    pthread_mutex_lock(&device->lock);
    if (device->is_recycled) {
        device->is_recycled = false;
        code = clEnqueueMarkerWithWaitList(device->queue, 0, NULL, &marker);
        if (code == CL_SUCCESS) {
            (void)clFlush(device->queue);
            code = clEnqueueBarrierWithWaitList(device->copy_queue, 1, &marker, NULL);
            clReleaseEvent(marker);
        }
    }
    pthread_mutex_unlock(&device->lock);
    return code == CL_SUCCESS ? 0 : ocl_cl_error(err, code, "copy of weights");
}

int
ocl_stage_wait_recycled(struct hearth_device *device, struct hearth_error *err)
{
    int status = 0;
    pthread_mutex_lock(&device->lock);
    if (device->is_recycled) {
        status = ocl_settle(device, ocl_settings.timeout_ns, err);
        device->is_recycled = status < 0;
    }
    pthread_mutex_unlock(&device->lock);
    return status;
}

int
ocl_stage_write(struct hearth_device *device, cl_command_queue queue, struct ocl_span dst, const void *src,
                uint64_t size, struct hearth_error *err)
{
    const int status = queue == device->copy_queue ? order_recycled(device, err) : 0;
    if (status < 0) {
        return status;
    }
    const bool is_small = size < SMALL_BYTES;
    if (device->staging->is_direct || (is_small && queue == device->copy_queue)) {
        return write_direct(device, queue, dst, src, size, err);
    }
    pthread_mutex_lock(&device->lock);
    const int end = is_small ? write_small(device, dst, src, size, err)
                             : write_pieces(device, queue, dst, src, size, err);
    pthread_mutex_unlock(&device->lock);
    return end;
}

/* Both pieces for loans, for experts of that size; what no longer fits has been sent and goes. */
static int
loans_new(struct hearth_device *device, uint64_t size, struct hearth_error *err)
{
    struct ocl_staging *staging = device->staging;
    for (unsigned i = 0; i < 2; i++) {
        const int status = piece_settle(device, &staging->loans[i], err);
        if (status < 0) {
            return status;
        }
        piece_free(device, &staging->loans[i]);
        const int code = piece_new(device, size, &staging->loans[i]);
        if (code != CL_SUCCESS) {
            staging->loan_bytes = 0;
            return host_error(err, HEARTH_EMEMORY, code, "pinned memory for experts on loan: %s (%d)",
                              ocl_code_name(code), code);
        }
    }
    staging->loan_bytes = size;
    return 0;
}

int
ocl_loan_begin(struct hearth_device *device, uint64_t size, unsigned char **ret_bytes, struct hearth_error *err)
{
    struct ocl_staging *staging = device->staging;
    int status = size > staging->loan_bytes ? loans_new(device, size, err) : 0;
    struct piece *loan = &staging->loans[staging->next_loan];
    status = status < 0 ? status : piece_settle(device, loan, err);
    if (status < 0) {
        return status;
    }
    if (loan->busy != NULL) {
        clReleaseEvent(loan->busy);
        loan->busy = NULL;
    }
    *ret_bytes = loan->bytes;
    return 0;
}

int
ocl_loan_end(struct hearth_device *device, struct ocl_span dst, uint64_t size, struct hearth_error *err)
{
    struct piece *loan = &device->staging->loans[device->staging->next_loan];
    const cl_int code = clEnqueueWriteBuffer(device->copy_queue, dst.mem, CL_FALSE, (size_t)dst.offset, (size_t)size,
                                             loan->bytes, 0, NULL, &loan->busy);
    if (code != CL_SUCCESS) {
        loan->busy = NULL;
        return ocl_cl_error(err, code, "copy of an expert to the device");
    }
    device->staging->next_loan ^= 1u;
    pthread_mutex_lock(&device->lock);
    note_copied(device, device->copy_queue, loan->busy);
    pthread_mutex_unlock(&device->lock);
    (void)clFlush(device->copy_queue);
    return 0;
}

/* One piece is fetched while the one before is copied out. */
static int
read_pieces(struct hearth_device *device, unsigned char *dst, struct ocl_span src, uint64_t size,
            struct hearth_error *err)
{
    struct piece *pieces[2] = {NULL, NULL};
    uint64_t fetched = 0, done = 0;
    int status = 0;
    while (status == 0 && done < size) {
        for (unsigned i = 0; i < 2 && status == 0 && fetched < size && fetched < done + 2 * PIECE_BYTES; i++) {
            const unsigned slot = (unsigned)(fetched / PIECE_BYTES % 2);
            const uint64_t n = size - fetched < PIECE_BYTES ? size - fetched : PIECE_BYTES;
            status = piece_take(device, device->queue, true, &pieces[slot], err);
            if (status < 0) {
                break;
            }
            const cl_int code = clEnqueueReadBuffer(device->queue, src.mem, CL_FALSE, (size_t)(src.offset + fetched),
                                                    (size_t)n, pieces[slot]->bytes, 0, NULL, &pieces[slot]->busy);
            if (code != CL_SUCCESS) {
                pieces[slot]->busy = NULL;
                status = ocl_cl_error(err, code, "copy from the device");
            }
            (void)clFlush(device->queue);
            fetched += n;
        }
        if (status == 0) {
            const struct piece *piece = pieces[done / PIECE_BYTES % 2];
            const uint64_t n = size - done < PIECE_BYTES ? size - done : PIECE_BYTES;
            status = ocl_wait(device, piece->busy, ocl_settings.timeout_ns, err);
            status = status == HEARTH_ETIMEOUT ? ocl_give_up(device) : status;
            if (status == 0) {
                memcpy(dst + done, piece->bytes, (size_t)n);
            }
            done += n;
        }
    }
    return status;
}

int
ocl_stage_read(struct hearth_device *device, void *dst, struct ocl_span src, uint64_t size, struct hearth_error *err)
{
    if (device->staging->is_direct) {
        cl_event event;
        const int status = ocl_settle(device, ocl_settings.timeout_ns, err);
        if (status < 0) {
            return status;
        }
        const cl_int code = clEnqueueReadBuffer(device->queue, src.mem, CL_FALSE, (size_t)src.offset, (size_t)size, dst,
                                                0, NULL, &event);
        return finish_copy(device, code, event, "copy from the device", err);
    }
    pthread_mutex_lock(&device->lock);
    const int status = read_pieces(device, dst, src, size, err);
    pthread_mutex_unlock(&device->lock);
    return status;
}

int
ocl_stage_join(struct hearth_device *device, struct hearth_error *err)
{
    cl_int code = CL_SUCCESS;
    pthread_mutex_lock(&device->lock);
    if (device->copied != NULL) {
        code = clEnqueueBarrierWithWaitList(device->queue, 1, &device->copied, NULL);
        clReleaseEvent(device->copied);
        device->copied = NULL;
    }
    pthread_mutex_unlock(&device->lock);
    return code == CL_SUCCESS ? 0 : ocl_cl_error(err, code, "clEnqueueBarrierWithWaitList");
}
