/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * persist_record.c -- a medium that writes down what happens to it
 *
 *   rows   | STORE | FLUSH | FENCE | STORE_NT | FENCE | ...
 *   bytes  | of the first store | of the second | ...
 *
 * Owns: the log of a recorded device.
 * Locks: log->lock, the innermost: held while a store moves its bytes, so that
 *        the order of the log is the order in which they came to the medium.
 * Kernel: none.
 */
#include "persist_record.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "copy_mc.h"
#include "device.h"
#include "errormsg.h"
#include "move.h"

/* A growing array. */
struct growing {
	char *bytes;
	uint64_t used;
	uint64_t room;
};

struct record_log {
	struct mutex lock;	/* guards all below */
	struct growing rows;	/* struct dax_record */
	struct growing bytes;
	bool torn;		/* something is missing: there was no memory */
};

enum { FIRST_ROOM = 1 << 14 };

/* ---- writing (log->lock held) ------------------------------------------------- */

/* Room for @n bytes more; false: there is no memory. */
static bool make_room(struct growing *array, uint64_t n)
{
	uint64_t room = array->room ? array->room : FIRST_ROOM;
	char *bytes;

	if (n <= array->room - array->used)
		return true;
	while (room - array->used < n)
		room *= 2;
	bytes = dax_zalloc(room);
	if (!bytes)
		return false;
	if (array->used)
		memcpy(bytes, array->bytes, array->used);
	dax_free(array->bytes);
	array->bytes = bytes;
	array->room = room;
	return true;
}

static void append(struct growing *array, const void *from, uint64_t n)
{
	memcpy(array->bytes + array->used, from, n);
	array->used += n;
}

/* Threads are numbered as they come: a fence is that of its own thread. */
static uint32_t thread_number(void)
{
	static _Atomic uint32_t last;
	static __thread uint32_t own;

	if (!own)
		own = atomic_fetch_add(&last, 1) + 1;
	return own;
}

/* @from: the bytes of a store, as they are on the medium now; NULL: none.  A
 * log that lacks one event is worth nothing: it says so from then on. */
static void record(struct record_log *log, unsigned int kind, uint64_t offset,
		   uint64_t n, const void *from)
{
	struct dax_record row = {
		.offset = offset, .length = n, .data = log->bytes.used,
		.kind = kind, .thread = thread_number(),
	};

	if (log->torn || !make_room(&log->rows, sizeof(row)) ||
	    (from && !make_room(&log->bytes, n))) {
		log->torn = true;
		return;
	}
	append(&log->rows, &row, sizeof(row));
	if (from)
		append(&log->bytes, from, n);
}

/* ---- the table ------------------------------------------------------------------ */

static uint64_t offset_of(const struct dax_device *dev, const void *addr)
{
	return (uint64_t)((const char *)addr - dev->window);
}

/* A store that failed half way is recorded as what it left. */
static int record_move(struct dax_device *dev, unsigned int kind, move_fn move,
		       void *to, const void *from, size_t n)
{
	struct record_log *log = dev->record;
	int ret;

	mutex_lock(&log->lock);
	ret = move_mc(move, to, from, n);
	if (ret)
		kind = DAX_RECORD_STORE_NT;	/* no zeroes, or not all */
	record(log, kind, offset_of(dev, to), n,
	       kind == DAX_RECORD_ZERO_NT ? NULL : to);
	mutex_unlock(&log->lock);
	return ret;
}

/* The caller's memory is read with no lock held: reading it may be a fault of
 * ours.  Pieces end where pages of the device do. */
static int record_store(struct dax_device *dev, unsigned int kind, char *to,
			const char *from, size_t n)
{
	char page[DAX_PAGE_SIZE];
	int ret = 0;

	while (!ret && n) {
		size_t step = DAX_PAGE_SIZE - offset_of(dev, to) % DAX_PAGE_SIZE;

		if (step > n)
			step = n;
		ret = move_mc(move_bytes, page, from, step);
		if (!ret)
			ret = record_move(dev, kind, move_bytes, to, page, step);
		to += step;
		from += step;
		n -= step;
	}
	return ret;
}

static int store(struct dax_device *dev, void *to, const void *from, size_t n)
{
	return record_store(dev, DAX_RECORD_STORE, to, from, n);
}

static int store_nt(struct dax_device *dev, void *to, const void *from,
		    size_t n)
{
	return record_store(dev, DAX_RECORD_STORE_NT, to, from, n);
}

static int zero_nt(struct dax_device *dev, void *to, size_t n)
{
	return record_move(dev, DAX_RECORD_ZERO_NT, zero_bytes, to, to, n);
}

static int flush(struct dax_device *dev, const void *addr, size_t n)
{
	struct record_log *log = dev->record;

	mutex_lock(&log->lock);
	record(log, DAX_RECORD_FLUSH, offset_of(dev, addr), n, NULL);
	mutex_unlock(&log->lock);
	return 0;
}

static void fence(struct dax_device *dev)
{
	struct record_log *log = dev->record;

	mutex_lock(&log->lock);
	record(log, DAX_RECORD_FENCE, 0, 0, NULL);
	mutex_unlock(&log->lock);
}

static int sync(struct dax_device *dev)
{
	fence(dev);
	return 0;
}

const struct persist_ops persist_record = {
	.store = store,
	.store_nt = store_nt,
	.zero_nt = zero_nt,
	.flush = flush,
	.fence = fence,
	.sync = sync,
	.durable_at_fence = true,
	.map_sync = true,
};

/* ---- reading ---------------------------------------------------------------------- */

/* The log, locked; NULL and *ret_err: there is none that can be read. */
static struct record_log *lock_log(struct dax_device *dev, int *ret_err)
{
	struct record_log *log = dev->record;

	if (!log) {
		*ret_err = dax_error(-EOPNOTSUPP, "%s: the device is not recorded (%s)",
				     dev->path, dev->durability);
		return NULL;
	}
	if (dev->fork_generation != sys_fork_generation) {
		*ret_err = dax_error(-ESTALE, "%s: the device was made before fork()",
				     dev->path);
		return NULL;
	}
	mutex_lock(&log->lock);
	return log;
}

/* The same for one from which nothing is missing. */
static struct record_log *lock_whole_log(struct dax_device *dev, int *ret_err)
{
	struct record_log *log = lock_log(dev, ret_err);

	if (!log || !log->torn)
		return log;
	mutex_unlock(&log->lock);
	*ret_err = dax_error(-ENOMEM, "there was no memory for the log: events are "
			     "missing");
	return NULL;
}

int64_t record_log_length(struct dax_device *dev)
{
	int err = 0;
	struct record_log *log = lock_whole_log(dev, &err);
	int64_t ret;

	if (!log)
		return err;
	ret = (int64_t)(log->rows.used / sizeof(struct dax_record));
	mutex_unlock(&log->lock);
	return ret;
}

/* Copy what there is of @n bytes at @from; its number. */
static int64_t copy_out(const struct growing *array, uint64_t from, void *buf,
			uint64_t n)
{
	uint64_t left = from < array->used ? array->used - from : 0;

	if (n > left)
		n = left;
	if (n)
		memcpy(buf, array->bytes + from, n);
	return (int64_t)n;
}

int64_t record_log_read(struct dax_device *dev, uint64_t first,
			struct dax_record *buf, size_t nr)
{
	const uint64_t size = sizeof(*buf), most = UINT64_MAX / 2 / size;
	int err = 0;
	struct record_log *log = lock_whole_log(dev, &err);
	int64_t ret = 0;

	if (!log)
		return err;
	if (first < most)
		ret = copy_out(&log->rows, first * size, buf,
			       (nr < most ? nr : most) * size) / (int64_t)size;
	mutex_unlock(&log->lock);
	return ret;
}

int64_t record_log_data(struct dax_device *dev, uint64_t data, void *buf,
			size_t len)
{
	int err = 0;
	struct record_log *log = lock_whole_log(dev, &err);
	int64_t ret;

	if (!log)
		return err;
	ret = copy_out(&log->bytes, data, buf, len);
	mutex_unlock(&log->lock);
	return ret;
}

int record_log_reset(struct dax_device *dev)
{
	int err = 0;
	struct record_log *log = lock_log(dev, &err);

	if (!log)
		return err;
	log->rows.used = 0;
	log->bytes.used = 0;
	log->torn = false;
	mutex_unlock(&log->lock);
	return 0;
}

/* ---- life -------------------------------------------------------------------------- */

int record_log_new(struct record_log **ret_log)
{
	struct record_log *log = dax_zalloc(sizeof(*log));

	if (!log)
		return dax_error(-ENOMEM, "no memory for a log");
	*ret_log = log;
	return 0;
}

void record_log_free(struct record_log *log)
{
	if (!log)
		return;
	dax_free(log->rows.bytes);
	dax_free(log->bytes.bytes);
	dax_free(log);
}
