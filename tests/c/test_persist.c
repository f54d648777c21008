/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_persist.c -- memory, persistent memory, a file behind the page cache
 *
 * Which pages a file's device stores again after a failed fdatasync is read off
 * by taking write access away from its window: the handler notes each page that
 * is stored to and gives it back.
 */
#define _GNU_SOURCE
#include "persist.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "device.h"
#include "fixture.h"
#include "flush.h"
#include "oom.h"
#include "test_hooks.h"
#include "tmpdir.h"

enum { NR_PAGES = 200 };

static struct dax_device *dev;

static void open_file(void)
{
	MUST(!dax_device_open(&dev, tmp_path("dev"), NR_PAGES * 4096,
			      DAX_DEVICE_CREATE | DAX_DEVICE_OVERWRITE));
}

static void close_file(void)
{
	dax_device_put(dev);
	unlink(tmp_path("dev"));
}

static char *page_at(unsigned int page)
{
	return dev->window + (size_t)page * 4096;
}

/* ---- stores seen ------------------------------------------------------------------- */

static unsigned char seen[NR_PAGES];
static struct sigaction before;

static void on_store(int sig, siginfo_t *info, void *context)
{
	size_t at = (size_t)((char *)info->si_addr - dev->window);

	(void)context;
	if (at >= dev->size) {
		signal(sig, SIG_DFL);
		return;
	}
	seen[at / 4096] = 1;
	mprotect(dev->window + at / 4096 * 4096, 4096, PROT_READ | PROT_WRITE);
}

static void watch_stores(void)
{
	struct sigaction action = { .sa_sigaction = on_store, .sa_flags = SA_SIGINFO };

	memset(seen, 0, sizeof(seen));
	MUST(!sigaction(SIGSEGV, &action, &before));
	MUST(!mprotect(dev->window, dev->size, PROT_READ));
}

static unsigned int stores_seen(void)
{
	unsigned int nr = 0;

	MUST(!mprotect(dev->window, dev->size, PROT_READ | PROT_WRITE));
	MUST(!sigaction(SIGSEGV, &before, NULL));
	for (unsigned int i = 0; i < NR_PAGES; i++)
		nr += seen[i];
	return nr;
}

/* ---- syncs that fail ------------------------------------------------------------------ */

static int sync_error;
static unsigned int nr_syncs;

static int count_sync(const char *name)
{
	if (strcmp(name, "fdatasync"))
		return 0;
	nr_syncs++;
	return sync_error;
}

static void syncs_return(int error)
{
	sync_error = error;
	dax_test.fail_sys = count_sync;
}

static bool remembered(unsigned int page)
{
	return dev->unsynced[page / 64] >> (page % 64) & 1;
}

static bool syncing(unsigned int page)
{
	return dev->syncing[page / 64] >> (page % 64) & 1;
}

static int sync_of(struct dax_device *device)
{
	return device->persist->sync(device);
}

/* ---- what is remembered ----------------------------------------------------------------- */

static void bits_of_a_range(void)
{
	static char buf[5 * 4096];

	open_file();
	CHECK(dev->persist == &persist_file);
	CHECK(!dev->persist->durable_at_fence);
	dev->persist->flush(dev, page_at(3) + 4095, 2);
	CHECK(!remembered(2) && remembered(3) && remembered(4) && !remembered(5));
	EQ(dev->persist->store_nt(dev, page_at(62) + 1, buf, 3 * 4096), 0);
	for (unsigned int page = 60; page < 70; page++)
		EQ(remembered(page), page >= 62 && page <= 65);
	EQ(dev->persist->zero_nt(dev, page_at(199), 1), 0);
	CHECK(remembered(199) && !remembered(198));
	EQ(dev->persist->store(dev, page_at(10), buf, 1), 0);	/* flush is to come */
	CHECK(!remembered(10));
	dev->persist->fence(dev);
	syncs_return(0);
	nr_syncs = 0;
	EQ(sync_of(dev), 0);
	EQ(nr_syncs, 1);
	for (unsigned int page = 0; page < NR_PAGES; page++)
		CHECK(!remembered(page) && !syncing(page));
	EQ(sync_of(dev), 0);
	EQ(nr_syncs, 2);	/* always */
	close_file();
}

/* Pages far apart, at the edges of words and groups, and two stores that reach
 * over one. */
static const uint64_t far[] = {
	0, 63, 64, 4095, 4096, 8191, 8192, (1 << 18) - 1, 1 << 18, 77 << 18,
	(900 << 18) - 1,
};
enum { NR_FAR = sizeof(far) / sizeof(far[0]) };

static unsigned int nr_far(bool (*has)(unsigned int))
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < NR_FAR; i++)
		nr += has((unsigned int)far[i]);
	return nr;
}

static int64_t minor_faults(void)
{
	struct rusage usage;

	MUST(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt;
}

/* A sync looks at what was stored, and not at everything below the highest page
 * of 900 GiB: that would be the bits of each, 7000 pages. */
static void far_apart(void)
{
	int64_t before_sync;

	MUST(!dax_device_open(&dev, tmp_path("dev"), UINT64_C(900) << 30,
			      DAX_DEVICE_CREATE | DAX_DEVICE_OVERWRITE));
	for (int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < NR_FAR; i++)
			dev->persist->flush(dev, dev->window + (far[i] << 12), 1);
		EQ(nr_far(remembered), NR_FAR);
		syncs_return(round ? 0 : -EIO);
		before_sync = minor_faults();
		EQ(sync_of(dev), round ? 0 : -EIO);
		CHECK(minor_faults() - before_sync < 500);
		EQ(nr_far(remembered), 0);
		EQ(nr_far(syncing), round ? 0 : NR_FAR);
	}
	dev->persist->flush(dev, dev->window + ((UINT64_C(4096) << 12) - 1), 2);
	CHECK(remembered(4095) && remembered(4096));
	CHECK(!remembered(4094) && !remembered(4097));
	EQ(sync_of(dev), 0);
	CHECK(!remembered(4095) && !remembered(4096));
	dev->persist->flush(dev, dev->window + (100 << 12), 200 << 12);
	for (unsigned int page = 90; page < 310; page++)
		EQ(remembered(page), page >= 100 && page < 300);
	EQ(sync_of(dev), 0);
	close_file();
}

static void stored_again(void)
{
	open_file();
	memset(page_at(0), 'x', dev->size);
	dev->persist->flush(dev, page_at(3), 2 * 4096);
	dev->persist->flush(dev, page_at(70), 1);
	watch_stores();
	syncs_return(0);
	EQ(sync_of(dev), 0);
	EQ(stores_seen(), 0);	/* no need before the first failure */

	dev->persist->flush(dev, page_at(3), 2 * 4096);
	dev->persist->flush(dev, page_at(70), 1);
	syncs_return(-EIO);
	EQ(sync_of(dev), -EIO);
	CHECK(errormsg_has("fdatasync"));
	CHECK(syncing(3) && syncing(4) && syncing(70));
	for (int round = 0; round < 3; round++) {
		watch_stores();
		EQ(sync_of(dev), -EIO);
		EQ(stores_seen(), 3);
		CHECK(seen[3] && seen[4] && seen[70]);
	}
	watch_stores();
	syncs_return(0);
	EQ(sync_of(dev), 0);
	EQ(stores_seen(), 3);
	CHECK(!syncing(3) && !syncing(70));
	for (unsigned int i = 0; i < dev->size; i++)
		if (dev->window[i] != 'x')
			MUST(!"a byte has changed");
	close_file();
}

/* What the failed sync gave up without anybody having told of it: stored, and
 * flushed only later, even after another sync that succeeded. */
static void told_too_late(void)
{
	open_file();
	memset(page_at(0), 'x', dev->size);
	dev->persist->flush(dev, page_at(1), 1);
	syncs_return(-EIO);
	EQ(sync_of(dev), -EIO);
	dev->persist->flush(dev, page_at(2), 1);	/* was stored before */
	watch_stores();
	syncs_return(0);
	EQ(sync_of(dev), 0);
	EQ(stores_seen(), 2);
	CHECK(seen[1] && seen[2]);
	dev->persist->flush(dev, page_at(5), 1);	/* so was this one */
	watch_stores();
	EQ(sync_of(dev), 0);
	EQ(stores_seen(), 1);
	CHECK(seen[5]);
	close_file();
}

/* Fails while it stores again: nothing is forgotten. */
static void shrunk_meanwhile(void)
{
	open_file();
	memset(page_at(0), 'x', dev->size);
	dev->persist->flush(dev, page_at(1), 1);
	dev->persist->flush(dev, page_at(150), 1);
	syncs_return(-EIO);
	EQ(sync_of(dev), -EIO);
	syncs_return(0);
	MUST(!ftruncate(dev->fd, 100 * 4096));
	nr_syncs = 0;
	EQ(sync_of(dev), -EIO);
	EQ(nr_syncs, 0);
	CHECK(syncing(1) && syncing(150));
	MUST(!ftruncate(dev->fd, NR_PAGES * 4096));
	EQ(sync_of(dev), 0);
	CHECK(!syncing(1) && !syncing(150));
	close_file();
}

/* A real descriptor that cannot be synced. */
static void real_failure(void)
{
	int fd;

	open_file();
	dax_test.fail_sys = NULL;
	fd = dev->fd;
	dev->fd = -1;
	EQ(sync_of(dev), -EBADF);
	dev->fd = fd;
	EQ(sync_of(dev), 0);
	close_file();
}

/* Bytes that are in the file, by another descriptor. */
static void bytes_reach_the_file(void)
{
	char byte = 0;

	open_file();
	dax_test.fail_sys = NULL;
	EQ(dev->persist->store_nt(dev, page_at(7), "b", 1), 0);
	EQ(sync_of(dev), 0);
	EQ(pread(dev->fd, &byte, 1, 7 * 4096), 1);
	EQ(byte, 'b');
	close_file();
}

/* ---- by a whole file of the engine -------------------------------------------------------- */

static void fsync_retries(void)
{
	struct dax_mapping *a, *b;
	struct dax_vma *va, *vb;
	uint32_t since;

	open_file();
	syncs_return(0);
	a = new_file(dev, 64 * PAGE);
	b = new_file(dev, 64 * PAGE);
	va = map_pages(a, 64 * 4096, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	vb = map_pages(b, 64 * 4096, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	since = dax_mapping_wb_err(a);
	for (uint64_t i = 0; i < 3; i++)
		EQ(store(va, i * 4096, 'a'), 0);
	for (uint64_t i = 0; i < 2; i++)
		EQ(store(vb, i * 4096, 'b'), 0);
	EQ(put(a, 40 * PAGE, 'p'), 0);
	syncs_return(-EIO);
	EQ(dax_mapping_fsync(a, &since), -EIO);
	EQ(nr_dirty(a), 3);
	syncs_return(0);
	watch_stores();
	EQ(dax_mapping_fsync(a, &since), 0);
	EQ(stores_seen(), 4);	/* its three entries and what it wrote */
	EQ(nr_dirty(a), 0);
	watch_stores();		/* of the other file's the failed one lost, too */
	EQ(dax_mapping_fsync(b, NULL), 0);
	EQ(stores_seen(), 2);
	dax_vma_put(va);
	dax_vma_put(vb);
	dax_mapping_put(a);
	dax_mapping_put(b);
	close_file();
}

/* pwrite and zero_range always need the sync, and fsync always makes one. */
static void fsync_always_syncs(void)
{
	struct dax_mapping *file;

	open_file();
	syncs_return(0);
	nr_syncs = 0;
	file = new_file(dev, 64 * PAGE);
	EQ(put(file, 5, 'p'), 0);
	EQ(dax_mapping_fsync(file, NULL), 0);
	EQ(nr_syncs, 1);
	EQ(dax_mapping_writeback(file, 4096, 4096), 0);
	EQ(nr_syncs, 2);
	dax_mapping_put(file);
	close_file();
}

/* ---- two threads ------------------------------------------------------------------------------ */

static _Atomic bool stop;

static void *remember_all(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; !READ_ONCE(stop); i++)
		dev->persist->flush(dev, page_at(i % NR_PAGES), 1);
	return NULL;
}

static void beside_a_sync(void)
{
	pthread_t thread;

	open_file();
	stop = false;
	MUST(!pthread_create(&thread, NULL, remember_all, NULL));
	for (int i = 0; i < 2000; i++) {
		syncs_return(i % 3 ? 0 : -EIO);
		EQ(sync_of(dev), i % 3 ? 0 : -EIO);
	}
	stop = true;
	MUST(!pthread_join(thread, NULL));
	syncs_return(0);
	dev->persist->flush(dev, page_at(9), 1);
	CHECK(remembered(9));
	EQ(sync_of(dev), 0);
	CHECK(!remembered(9) && !syncing(9));
	close_file();
}

/* ---- the other media ---------------------------------------------------------------------------- */

static void check_table(struct dax_device *device)
{
	const struct persist_ops *ops = device->persist;
	static char buf[5000];

	memset(buf, 'b', sizeof(buf));
	EQ(ops->store(device, device->window + 100, buf, 4500), 0);
	EQ(ops->store_nt(device, device->window + 5001, buf, 4501), 0);
	CHECK(!memcmp(device->window + 5001, buf, 4501));
	CHECK(!device->window[99] && !device->window[4600] && !device->window[5000] &&
	      !device->window[9502]);
	ops->flush(device, device->window, 9000);
	ops->fence(device);
	EQ(ops->sync(device), 0);
	EQ(ops->zero_nt(device, device->window + 101, 9000), 0);
	EQ(device->window[100], 'b');
	EQ(device->window[101], 0);
	EQ(device->window[9100], 0);
	EQ(device->window[9101], 'b');
	CHECK(ops->durable_at_fence);
}

static void memory(void)
{
	nr_syncs = 0;
	syncs_return(-EIO);
	MUST(!dax_device_memory(&dev, 64 * 4096));
	CHECK(dev->persist == &persist_memory);
	CHECK(strstr(dax_device_durability(dev), "none"));
	check_table(dev);
	CHECK(!dev->unsynced);
	dax_device_put(dev);
	EQ(nr_syncs, 0);
}

static void pmem(void)
{
	if (!flush_select())
		return;
	nr_syncs = 0;
	MUST(!dax_device_emulate_pmem(&dev, 64 * 4096));
	CHECK(dev->persist == &persist_pmem);
	CHECK(strstr(dax_device_durability(dev), flush_select()->name));
	check_table(dev);
	dax_device_put(dev);
	EQ(nr_syncs, 0);
}

/* A file on persistent memory that somebody cuts off under a dirty page: to write
 * back its lines is SIGBUS, which is an error and no end of the process. */
static void pmem_cut_off(void)
{
	const struct persist_ops *ops;
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	if (!flush_select())
		return;
	open_file();
	ops = dev->persist;
	dev->persist = &persist_pmem;
	mapping = new_file(dev, 8 * 4096);
	vma = map_shared(mapping, 8 * 4096);
	EQ(store(vma, 3 * 4096, 'd'), 0);
	MUST(!truncate(tmp_path("dev"), 0));
	EQ(dax_mapping_fsync(mapping, NULL), -EIO);
	CHECK(errormsg_has("SIGBUS"));
	EQ(nr_dirty(mapping), 1);
	EQ(dev->persist->flush(dev, page_at(0), 4096), -EIO);
	MUST(!truncate(tmp_path("dev"), NR_PAGES * 4096));
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	EQ(nr_dirty(mapping), 0);
	EQ(dax_device_flush(dev, 0, 4096), 0);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dev->persist = ops;
	close_file();
}

static void readonly(void)
{
	const char *path = tmp_file("readonly", 64 * 4096, 'r');
	struct dax_mapping *file;

	nr_syncs = 0;
	syncs_return(-EIO);
	MUST(!dax_device_open(&dev, path, 0, 0));
	CHECK(strstr(dax_device_durability(dev), "read-only"));
	EQ(sync_of(dev), 0);
	file = new_file(dev, 16 * PAGE);
	EQ(dax_mapping_fsync(file, NULL), 0);
	EQ(dax_mapping_writeback(file, 0, 16 * 4096), 0);
	EQ(nr_syncs, 0);
	dax_mapping_put(file);
	dax_device_put(dev);
}

/* Opening: every allocation fails in turn, the bitmaps among them. */
static void open_without_memory(void)
{
	dax_test.fail_sys = NULL;
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = dax_device_open(&dev, tmp_path("dev"), NR_PAGES * 4096,
				      DAX_DEVICE_CREATE | DAX_DEVICE_OVERWRITE);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		EQ(ret, -ENOMEM);
	}
	CHECK(oom_rounds() >= 4);
	close_file();
}

int main(void)
{
	tmpdir_make();
	plan(15);
	run("a file: the pages of a range are remembered", bits_of_a_range);
	run("a file: pages far apart", far_apart);
	run("a file: after a failed sync all is stored again", stored_again);
	run("a file: also what was told too late", told_too_late);
	run("a file: that shrank before it is stored again", shrunk_meanwhile);
	run("a file: a descriptor that fails", real_failure);
	run("a file: bytes reach it", bytes_reach_the_file);
	run("a file: fsync retries, of two files on one device", fsync_retries);
	run("a file: fsync always syncs", fsync_always_syncs);
	run("a file: stores beside syncs", beside_a_sync);
	run("memory", memory);
	run("persistent memory", pmem);
	run("persistent memory that is cut off", pmem_cut_off);
	run("a read-only device", readonly);
	run("open: every allocation fails in turn", open_without_memory);
	return done();
}
