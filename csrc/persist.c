/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * persist.c -- the three media: memory, persistent memory, a file
 *
 * Owns: which pages of a file were stored since they were last durable.
 * Locks: dev->sync_lock, held across fdatasync(2): syncs of one device follow
 *        each other, so whoever returns has waited for all that were begun.
 * Kernel: pmem_copy_from_iter(), pmem_flush; errseq_t is in writeback.c.
 * Differs: after a failed sync the bytes are stored again; the kernel marks
 *          pages clean that it could not write.
 */
#include "persist.h"

#include <errno.h>
#include <string.h>

#include "copy_mc.h"
#include "device.h"
#include "errormsg.h"
#include "flush.h"
#include "move.h"

/* ---- memory ------------------------------------------------------------------- */

static int plain_store(struct dax_device *dev, void *to, const void *from,
		       size_t n)
{
	(void)dev;
	return move_mc(move_bytes, to, from, n);
}

static int plain_zero(struct dax_device *dev, void *to, size_t n)
{
	(void)dev;
	return move_mc(zero_bytes, to, NULL, n);
}

static int no_flush(struct dax_device *dev, const void *addr, size_t n)
{
	(void)dev;
	(void)addr;
	(void)n;
	return 0;
}

static void no_fence(struct dax_device *dev)
{
	(void)dev;
}

static int no_sync(struct dax_device *dev)
{
	(void)dev;
	return 0;
}

const struct persist_ops persist_memory = {
	.store = plain_store,
	.store_nt = plain_store,
	.zero_nt = plain_zero,
	.flush = no_flush,
	.fence = no_fence,
	.sync = no_sync,
	.durable_at_fence = true,
};

/* ---- persistent memory ---------------------------------------------------------- */

static void zero_past_cache(void *to, const void *unused, size_t n)
{
	(void)unused;
	flush_select()->zero_nt(to, n);
}

static int pmem_store_nt(struct dax_device *dev, void *to, const void *from,
			 size_t n)
{
	(void)dev;
	return move_mc(flush_select()->copy_nt, to, from, n);
}

static int pmem_zero_nt(struct dax_device *dev, void *to, size_t n)
{
	(void)dev;
	return move_mc(zero_past_cache, to, NULL, n);
}

static void flush_lines(void *addr, const void *unused, size_t n)
{
	(void)unused;
	flush_select()->flush(addr, n);
}

/* To the MMU it is a load: of a file that was cut off it is SIGBUS. */
static int pmem_flush(struct dax_device *dev, const void *addr, size_t n)
{
	(void)dev;
	return move_mc(flush_lines, (void *)(uintptr_t)addr, NULL, n);
}

static void pmem_fence(struct dax_device *dev)
{
	(void)dev;
	flush_select()->fence();
}

static int pmem_sync(struct dax_device *dev)
{
	pmem_fence(dev);
	return 0;
}

const struct persist_ops persist_pmem = {
	.store = plain_store,
	.store_nt = pmem_store_nt,
	.zero_nt = pmem_zero_nt,
	.flush = pmem_flush,
	.fence = pmem_fence,
	.sync = pmem_sync,
	.durable_at_fence = true,
	.map_sync = true,
};

/* ---- a file behind the page cache -------------------------------------------------- */

/* Page of the device @addr lies in. */
static uint64_t page_of(const struct dax_device *dev, const void *addr)
{
	return (uint64_t)((const char *)addr - dev->window) >> DAX_PAGE_SHIFT;
}

static void note_end(struct dax_device *dev, uint64_t words)
{
	uint64_t old = READ_ONCE(dev->unsynced_end);

	while (old < words &&
	       !atomic_compare_exchange_weak(&dev->unsynced_end, &old, words))
		;
}

/* A bit says where to look for bits: 64 words of them, 16 MiB of the device. */
static void note_group(struct dax_device *dev, uint64_t group)
{
	uint64_t bit = UINT64_C(1) << (group % 64);

	note_end(dev, group / 64 + 1);
	if (!(atomic_load(&dev->unsynced_groups[group / 64]) & bit))
		atomic_fetch_or(&dev->unsynced_groups[group / 64], bit);
}

/* Bits of pages [first, last] in the word of @first. */
static uint64_t word_mask(uint64_t first, uint64_t last)
{
	uint64_t mask = UINT64_MAX << (first % 64);

	if (last / 64 == first / 64)
		mask &= UINT64_MAX >> (63 - last % 64);
	return mask;
}

/* The bytes come before the look at their bit, and the bit before that at its
 * group: a sync takes group, bit and bytes in this order.  So whoever finds a
 * bit set and leaves it is covered by the sync that takes it. */
static int file_remember(struct dax_device *dev, const void *addr, size_t n)
{
	uint64_t page = page_of(dev, addr);
	uint64_t last = page_of(dev, (const char *)addr + n - 1);

	smp_mb();
	for (; page <= last; page = (page | 63) + 1) {
		_Atomic uint64_t *word = &dev->unsynced[page / 64];
		uint64_t mask = word_mask(page, last);

		if ((atomic_load(word) & mask) != mask)
			atomic_fetch_or(word, mask);
		note_group(dev, page / 4096);
	}
	return 0;
}

static int file_store_nt(struct dax_device *dev, void *to, const void *from,
			 size_t n)
{
	int ret = plain_store(dev, to, from, n);

	file_remember(dev, to, n);
	return ret;
}

static int file_zero_nt(struct dax_device *dev, void *to, size_t n)
{
	int ret = plain_zero(dev, to, n);

	file_remember(dev, to, n);
	return ret;
}

/* Was it cut off since, with the bytes that were to be durable? */
static bool page_is_gone(struct dax_device *dev, uint64_t page)
{
	struct sys_file_info info;

	return dev->kind == DEVICE_SPARSE && !sys_file_info(dev->fd, &info) &&
	       page << DAX_PAGE_SHIFT >= info.size;
}

/* Touched pages the kernel takes for dirty again. */
static int store_again(struct dax_device *dev, uint64_t word)
{
	uint64_t bits = dev->syncing[word];
	int ret = 0;

	for (; !ret && bits; bits &= bits - 1) {
		uint64_t page = word * 64 + (uint64_t)__builtin_ctzll(bits);

		ret = touch_mc(dev->window + (page << DAX_PAGE_SHIFT));
		if (ret && page_is_gone(dev, page))
			ret = 0;
	}
	return ret;
}

/* The words of a group. */
static int gather_group(struct dax_device *dev, uint64_t group)
{
	int ret = 0;

	for (uint64_t i = group * 64; !ret && i < (group + 1) * 64; i++) {
		if (atomic_load(&dev->unsynced[i]))
			dev->syncing[i] |= atomic_exchange(&dev->unsynced[i], 0);
		if (dev->sync_failed && dev->syncing[i])
			ret = store_again(dev, i);
	}
	return ret;
}

static int forget_group(struct dax_device *dev, uint64_t group)
{
	for (uint64_t i = group * 64; i < (group + 1) * 64; i++)
		if (dev->syncing[i])
			dev->syncing[i] = 0;
	return 0;
}

/* Groups of which something is to be covered; fn returns 0 or -errno. */
static int for_each_group(struct dax_device *dev, uint64_t end,
			  int (*fn)(struct dax_device *dev, uint64_t group))
{
	int ret = 0;

	for (uint64_t i = 0; !ret && i < end; i++) {
		uint64_t bits = dev->syncing_groups[i];

		for (; !ret && bits; bits &= bits - 1)
			ret = fn(dev, i * 64 + (uint64_t)__builtin_ctzll(bits));
	}
	return ret;
}

/*
 * What was stored so far goes along with this sync.  Once one has failed, all
 * of it is stored again, and for good: the failed sync also gave up pages of
 * which nobody had told us yet (stored through a mapping and not flushed, or
 * between a pwrite's store and its note), and those come with a later one.
 */
static int gather(struct dax_device *dev, uint64_t end)
{
	for (uint64_t i = 0; i < end; i++)
		if (atomic_load(&dev->unsynced_groups[i]))
			dev->syncing_groups[i] |=
				atomic_exchange(&dev->unsynced_groups[i], 0);
	return for_each_group(dev, end, gather_group);
}

static void all_is_durable(struct dax_device *dev, uint64_t end)
{
	for_each_group(dev, end, forget_group);
	for (uint64_t i = 0; i < end; i++)
		if (dev->syncing_groups[i])
			dev->syncing_groups[i] = 0;
}

static int fdatasync_device(struct dax_device *dev)
{
	int ret = sys_fdatasync(dev->fd);

	if (ret)
		return dax_error(ret, "%s: fdatasync: %s", dev->path, strerror(-ret));
	return 0;
}

static int sync_locked(struct dax_device *dev)
{
	uint64_t end = READ_ONCE(dev->unsynced_end);
	int ret = gather(dev, end), cut_off;

	if (!ret)
		ret = fdatasync_device(dev);
	/* fdatasync(2) is content with what was cut off, and is not asked if that
	 * could not be stored again. */
	cut_off = device_verify(dev);
	if (cut_off)
		ret = cut_off;
	if (ret)
		dev->sync_failed = true;
	else
		all_is_durable(dev, end);
	return ret;
}

static int file_sync(struct dax_device *dev)
{
	int ret;

	mutex_lock(&dev->sync_lock);
	ret = sync_locked(dev);
	mutex_unlock(&dev->sync_lock);
	return ret;
}

const struct persist_ops persist_file = {
	.store = plain_store,
	.store_nt = file_store_nt,
	.zero_nt = file_zero_nt,
	.flush = file_remember,
	.fence = no_fence,
	.sync = file_sync,
};
