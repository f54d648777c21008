/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * medium.h -- a medium that remembers what would survive a power failure
 *
 *	medium_attach(dev, deferred)	put it under a device
 *	medium_durable(addr)		the byte of the device that survives
 *	survives(mapping, pos)		that of a file, 0 in a hole
 *
 * What is flushed or stored past the cache survives at once, or with @deferred
 * when the device is next synced, as with a file behind the page cache: then a
 * sync that fails gives up what it was to write.  Everything is counted.
 */
#ifndef MEDIUM_H
#define MEDIUM_H

#include <pthread.h>
#include <string.h>

#include "invariants.h"

enum { MEDIUM_LINE = 64, MEDIUM_LOG = 4096 };

struct medium_flush {
	uint64_t addr;		/* bytes in the device */
	uint64_t len;
};

static struct medium {
	struct persist_ops ops;
	const struct persist_ops *before;
	pthread_mutex_t lock;
	struct dax_device *dev;
	char *durable;
	char *pending;
	unsigned char *is_pending;	/* by line, */
	uint64_t first_pending, end_pending;	/* those in here */
	int sync_error;			/* of the syncs to come */
	bool in_sync;
	void (*on_flush)(uint64_t addr, uint64_t len);
	void (*on_sync)(void);
	uint64_t flushes, flushed_bytes, fences, syncs, nt_bytes;
	struct medium_flush log[MEDIUM_LOG];	/* of flushes */
} medium = { .lock = PTHREAD_MUTEX_INITIALIZER };

static inline uint64_t medium_addr(struct dax_device *dev, const void *addr)
{
	return (uint64_t)((const char *)addr - dev->window);
}

/* Whole lines of a range come nearer to the medium. */
static inline void medium_take(uint64_t addr, uint64_t len)
{
	uint64_t from = addr / MEDIUM_LINE * MEDIUM_LINE;
	uint64_t end = (addr + len + MEDIUM_LINE - 1) / MEDIUM_LINE * MEDIUM_LINE;

	if (medium.ops.durable_at_fence) {
		memcpy(medium.durable + from, medium.dev->window + from, end - from);
		return;
	}
	memcpy(medium.pending + from, medium.dev->window + from, end - from);
	memset(medium.is_pending + from / MEDIUM_LINE, 1, (end - from) / MEDIUM_LINE);
	if (medium.first_pending > from / MEDIUM_LINE)
		medium.first_pending = from / MEDIUM_LINE;
	if (medium.end_pending < end / MEDIUM_LINE)
		medium.end_pending = end / MEDIUM_LINE;
}

static inline int medium_store_nt(struct dax_device *dev, void *to,
				  const void *from, size_t n)
{
	int ret = medium.before->store_nt(dev, to, from, n);

	pthread_mutex_lock(&medium.lock);
	medium.nt_bytes += n;
	medium_take(medium_addr(dev, to), n);
	pthread_mutex_unlock(&medium.lock);
	return ret;
}

static inline int medium_zero_nt(struct dax_device *dev, void *to, size_t n)
{
	int ret = medium.before->zero_nt(dev, to, n);

	pthread_mutex_lock(&medium.lock);
	medium.nt_bytes += n;
	medium_take(medium_addr(dev, to), n);
	pthread_mutex_unlock(&medium.lock);
	return ret;
}

static inline int medium_flush(struct dax_device *dev, const void *addr,
			       size_t n)
{
	uint64_t at = medium_addr(dev, addr);

	if (medium.on_flush)
		medium.on_flush(at, n);
	pthread_mutex_lock(&medium.lock);
	medium.log[medium.flushes++ % MEDIUM_LOG] = (struct medium_flush){ at, n };
	medium.flushed_bytes += n;
	medium_take(at, n);
	pthread_mutex_unlock(&medium.lock);
	return 0;
}

static inline void medium_fence(struct dax_device *dev)
{
	(void)dev;
	pthread_mutex_lock(&medium.lock);
	medium.fences++;
	pthread_mutex_unlock(&medium.lock);
}

/* What was pending when the sync began is durable, or given up. */
static inline int medium_sync(struct dax_device *dev)
{
	int ret;

	(void)dev;
	if (medium.on_sync)
		medium.on_sync();
	pthread_mutex_lock(&medium.lock);
	medium.syncs++;
	ret = medium.sync_error;
	for (uint64_t i = medium.first_pending; i < medium.end_pending; i++) {
		if (!medium.is_pending[i])
			continue;
		if (!ret)
			memcpy(medium.durable + i * MEDIUM_LINE,
			       medium.pending + i * MEDIUM_LINE, MEDIUM_LINE);
		medium.is_pending[i] = 0;
	}
	medium.first_pending = UINT64_MAX;
	medium.end_pending = 0;
	pthread_mutex_unlock(&medium.lock);
	return ret;
}

static inline void medium_attach(struct dax_device *dev, bool deferred)
{
	medium = (struct medium){
		.before = dev->persist, .dev = dev, .first_pending = UINT64_MAX,
		.durable = calloc(1, dev->size), .pending = calloc(1, dev->size),
		.is_pending = calloc(1, dev->size / MEDIUM_LINE),
		.ops = {
			.store = dev->persist->store, .store_nt = medium_store_nt,
			.zero_nt = medium_zero_nt, .flush = medium_flush,
			.fence = medium_fence, .sync = medium_sync,
			.durable_at_fence = !deferred,
		},
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	MUST(medium.durable && medium.pending && medium.is_pending);
	dev->persist = &medium.ops;
}

static inline void medium_detach(void)
{
	medium.dev->persist = medium.before;
	free(medium.durable);
	free(medium.pending);
	free(medium.is_pending);
}

/* Forget the counts. */
static inline void medium_reset(void)
{
	medium.flushes = medium.flushed_bytes = medium.fences = 0;
	medium.syncs = medium.nt_bytes = 0;
}

static inline int medium_durable(uint64_t addr)
{
	int byte;

	pthread_mutex_lock(&medium.lock);
	byte = (unsigned char)medium.durable[addr];
	pthread_mutex_unlock(&medium.lock);
	return byte;
}

static inline int survives(struct dax_mapping *mapping, uint64_t pos)
{
	dax_pfn_t pfn = inv_mapped_pfn(mapping, pos >> DAX_PAGE_SHIFT);

	if (pfn == UINT64_MAX)
		return 0;
	return medium_durable(((pfn - medium.dev->pfn_base) << DAX_PAGE_SHIFT) +
			      pos % DAX_PAGE_SIZE);
}

#endif
