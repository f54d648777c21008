/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_sparse_file.c -- a block map that is the file's own
 *
 * Every test runs on the file system of TMPDIR and on that of /dev/shm.  What
 * the engine says is held against what the kernel says of the same file.
 */
#define _GNU_SOURCE
#include "sparse_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "fixture.h"
#include "invariants.h"
#include "oom.h"
#include "step.h"
#include "tmpdir.h"

#define WRITE		DAX_OPEN_WRITE
#define TRUNCATE	DAX_OPEN_TRUNCATE
#define MIB		(INT64_C(1) << 20)
#define GIB		(INT64_C(1) << 30)

static char path[PATH_MAX];	/* the file of a test */
static int fd;			/* the same, as another program has it */

/* ---- a file, and what the kernel says of it --------------------------------------- */

static void make(int64_t size)
{
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	MUST(fd >= 0 && !ftruncate(fd, size));
}

static void gone(void)
{
	close(fd);
	unlink(path);
}

static void foreign(int64_t pos, size_t len, int value)
{
	char *buf = malloc(len);

	MUST(buf);
	memset(buf, value, len);
	MUST(pwrite(fd, buf, len, pos) == (ssize_t)len);
	free(buf);
}

static int64_t du(void)
{
	struct stat st;

	MUST(!fstat(fd, &st));
	return st.st_blocks * 512;
}

static int64_t real_size(void)
{
	struct stat st;

	MUST(!fstat(fd, &st));
	return st.st_size;
}

static int real_byte(int64_t pos)
{
	unsigned char byte;

	return pread(fd, &byte, 1, pos) == 1 ? byte : -1;
}

static struct dax_mapping *open_flags(unsigned int flags)
{
	struct dax_mapping *mapping = NULL;

	MUST(!dax_mapping_open(&mapping, path, 0, flags));
	return mapping;
}

static struct dax_mapping *open_rw(void)
{
	return open_flags(WRITE);
}

static struct sparse_file *sparse_of(struct dax_mapping *mapping)
{
	return mapping->private_data;
}

/* As if looking all of it over had cost so much that it cannot be afforded. */
static void do_not_look_over(struct dax_mapping *mapping)
{
	sparse_of(mapping)->look_cost = UINT64_MAX / 128;
}

/* Bytes the engine and the kernel show, page by page of a small file. */
static void same_bytes(struct dax_mapping *mapping)
{
	int64_t size = real_size();
	char *ours = malloc((size_t)size + 1), *theirs = malloc((size_t)size + 1);

	MUST(ours && theirs);
	EQ(dax_mapping_size(mapping), size);
	EQ(dax_mapping_pread(mapping, ours, (size_t)size, 0), size);
	EQ(pread(fd, theirs, (size_t)size, 0), size);
	CHECK(!memcmp(ours, theirs, (size_t)size));
	free(ours);
	free(theirs);
}

static int row_is(const struct dax_extent *row, uint32_t type, int64_t offset,
		  int64_t length)
{
	return row->type == type && row->offset == offset &&
	       row->length == (uint64_t)length;
}

static int64_t extents(struct dax_mapping *mapping, struct dax_extent rows[16])
{
	dax_loff_t pos = 0;

	return dax_mapping_extents(mapping, &pos, rows, 16);
}

/* ---- faults in system calls --------------------------------------------------------- */

static const char *sys_name;	/* this call fails ... */
static int sys_nth;		/* ... the nth time, counted from 1 ... */
static int sys_errno;		/* ... with this */
static int sys_hits;

static int fail_hook(const char *name)
{
	if (strcmp(name, sys_name) || --sys_nth)
		return 0;
	sys_hits++;
	return sys_errno;
}

static void fail_nth(const char *name, int nth, int err)
{
	sys_name = name;
	sys_nth = nth;
	sys_errno = err;
	sys_hits = 0;
	dax_test.fail_sys = fail_hook;
}

static int always_hook(const char *name)
{
	return strcmp(name, sys_name) ? 0 : sys_errno;
}

static void fail_always(const char *name, int err)
{
	sys_name = name;
	sys_errno = err;
	dax_test.fail_sys = always_hook;
}

static void fail_none(void)
{
	dax_test.fail_sys = NULL;
}

/* ---- tests ---------------------------------------------------------------------------- */

static void holes_and_data(void)
{
	struct dax_extent rows[16];
	struct dax_mapping *mapping;

	make(GIB);
	foreign(4 * PAGE, 2 * PAGE, 'a');
	foreign(GIB - 10, 10, 'z');
	mapping = open_flags(0);
	EQ(extents(mapping, rows), 4);
	CHECK(row_is(&rows[0], DAX_IOMAP_HOLE, 0, 4 * PAGE));
	CHECK(row_is(&rows[1], DAX_IOMAP_MAPPED, 4 * PAGE, 2 * PAGE));
	EQ(rows[1].device_offset, 4 * PAGE);
	CHECK(row_is(&rows[3], DAX_IOMAP_MAPPED, GIB - PAGE, PAGE));
	EQ(get(mapping, 4 * PAGE), 'a');
	EQ(get(mapping, 0), 0);
	EQ(get(mapping, GIB - 1), 'z');
	EQ(get(mapping, GIB), -1);
	dax_mapping_put(mapping);
	gone();
}

/* A page that was only read costs nothing anywhere. */
static void reading_takes_no_block(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	int64_t before;

	make(64 * MIB);
	foreign(MIB, PAGE, 'a');
	before = du();
	mapping = open_rw();
	vma = map_pages(mapping, 64 * MIB, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	EQ(dax_vma_fault_range(vma, 0, 16384, 0, NULL, 0, NULL), 16384);
	EQ(stat_of(mapping, DAX_STAT_LOAD_HOLE), 16383);
	CHECK(all_bytes(mapping, 2 * MIB, 4 * MIB, 0));
	EQ(load(vma, MIB), 'a');
	EQ(du(), before);
	EQ(lseek(fd, 2 * MIB, SEEK_DATA), -1);
	EQ(gauge_of(mapping, DAX_GAUGE_ALLOCATED_BYTES), before);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

static void stores_take_one_block_each(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(16 * MIB);
	mapping = open_rw();
	vma = map_shared(mapping, 16 * MIB);
	EQ(load(vma, 5 * MIB + 7), 0);		/* a 2 MiB zero page is in the way */
	EQ(store(vma, 5 * MIB + 7, 'x'), 0);
	EQ(real_byte(5 * MIB + 7), 'x');
	EQ(du(), PAGE);
	EQ(stat_of(mapping, DAX_STAT_MAJOR_FAULT), 1);
	EQ(load(vma, 5 * MIB + 7), 'x');
	EQ(load(vma, 5 * MIB + PAGE), 0);
	EQ(store(vma, 5 * MIB + 8, 'y'), 0);	/* the block is there */
	EQ(du(), PAGE);
	EQ(lseek(fd, 0, SEEK_DATA), 5 * MIB);
	same_bytes(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* By 2 MiB only: holes and data are shown whole, a hole is not filled. */
static void by_2_mib(void)
{
	struct dax_fault_info info;
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(8 * MIB);
	foreign(2 * MIB, 2 * MIB, 'a');
	mapping = open_rw();
	vma = map_pages(mapping, 8 * MIB, RW | DAX_VM_SHARED, DAX_PAGES_PMD);
	CHECK(!(dax_vma_fault(vma, 0, 0, NULL) & DAX_VM_FAULT_ERROR));
	CHECK(!(dax_vma_fault(vma, 512, 1, NULL) & DAX_VM_FAULT_ERROR));
	CHECK(dax_vma_fault(vma, 1024, 1, &info) & DAX_VM_FAULT_FALLBACK);
	EQ(info.reason, DAX_FALLBACK_SHORT_EXTENT);
	EQ(stat_of(mapping, DAX_STAT_PMD_INSERT_MAPPING), 1);
	EQ(store(vma, 2 * MIB + 5, 'b'), 0);
	EQ(real_byte(2 * MIB + 5), 'b');
	EQ(du(), 2 * MIB);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

static void writes_set_the_exact_size(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(100);
	foreign(0, 100, 'a');
	mapping = open_rw();
	vma = map_shared(mapping, MIB);
	EQ(load(vma, 99), 'a');
	EQ(fill(mapping, 98, 5, 'b'), 5);
	EQ(real_size(), 103);
	EQ(dax_mapping_size(mapping), 103);
	EQ(load(vma, 102), 'b');
	EQ(fill(mapping, 3 * PAGE + 1, 2, 'c'), 2);
	EQ(real_size(), 3 * PAGE + 3);
	EQ(du(), 2 * PAGE);
	EQ(load(vma, 2 * PAGE), 0);
	EQ(fill(mapping, 2 * PAGE, 1, 'd'), 1);	/* what the mapping showed goes */
	EQ(load(vma, 2 * PAGE), 'd');
	same_bytes(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* What was stored past the end by way of memory is not data when it grows. */
static void growth_shows_zeroes(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(100);
	foreign(0, 100, 'a');
	mapping = open_rw();
	vma = map_shared(mapping, PAGE);
	EQ(store(vma, 200, 'x'), 0);
	EQ(fill(mapping, 300, 1, 'b'), 1);
	EQ(real_byte(200), 0);
	same_bytes(mapping);
	EQ(store(vma, 400, 'x'), 0);
	EQ(dax_mapping_truncate(mapping, 2 * PAGE), 0);
	EQ(real_byte(400), 0);
	same_bytes(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

static void truncate_and_punch(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(64 * PAGE);
	foreign(0, 64 * PAGE, 'a');
	mapping = open_rw();
	vma = map_pages(mapping, 64 * PAGE, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	EQ(dax_vma_fault_range(vma, 0, 64, 1, NULL, 0, NULL), 64);
	EQ(dax_mapping_punch_hole(mapping, 4 * PAGE + 100, 4 * PAGE), 0);
	EQ(du(), 61 * PAGE);
	EQ(lseek(fd, 0, SEEK_HOLE), 5 * PAGE);
	EQ(lseek(fd, 5 * PAGE, SEEK_DATA), 8 * PAGE);
	EQ(load(vma, 4 * PAGE + 99), 'a');
	EQ(load(vma, 4 * PAGE + 100), 0);
	EQ(load(vma, 6 * PAGE), 0);
	EQ(load(vma, 8 * PAGE + 99), 0);
	EQ(load(vma, 8 * PAGE + 100), 'a');
	EQ(du(), 61 * PAGE);			/* not by reading */
	same_bytes(mapping);
	EQ(dax_mapping_truncate(mapping, 20 * PAGE + 5), 0);
	EQ(real_size(), 20 * PAGE + 5);
	EQ(load(vma, 20 * PAGE + 4), 'a');
	EQ(load(vma, 21 * PAGE), -1);
	EQ(dax_mapping_truncate(mapping, 30 * PAGE), 0);
	EQ(load(vma, 20 * PAGE + 5), 0);
	EQ(load(vma, 25 * PAGE), 0);
	EQ(du(), 18 * PAGE);
	same_bytes(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* Where FIEMAP tells them, blocks set aside are neither hole nor data. */
static void fallocated(void)
{
	struct dax_extent rows[16];
	struct dax_mapping *mapping;
	int64_t nr, before;
	uint64_t start, end;
	bool told;

	make(PAGE);
	foreign(0, PAGE, 'a');
	mapping = open_rw();
	EQ(dax_mapping_fallocate(mapping, 4 * PAGE, 4 * PAGE + 10), 0);
	EQ(real_size(), 8 * PAGE + 10);
	EQ(dax_mapping_size(mapping), 8 * PAGE + 10);
	before = du();
	CHECK(before >= 6 * PAGE);
	told = sys_fiemap(fd, 0, PAGE, &start, &end) != -EOPNOTSUPP;
	nr = extents(mapping, rows);
	EQ(nr, told ? 3 : 2);
	CHECK(row_is(&rows[0], DAX_IOMAP_MAPPED, 0, PAGE));
	if (told) {
		CHECK(row_is(&rows[1], DAX_IOMAP_HOLE, PAGE, 3 * PAGE));
		CHECK(row_is(&rows[2], DAX_IOMAP_UNWRITTEN, 4 * PAGE, 4 * PAGE + 10));
	}
	CHECK(all_bytes(mapping, PAGE, 7 * PAGE, 0));
	EQ(fill(mapping, 6 * PAGE, 1, 'b'), 1);
	EQ(du(), before);
	nr = extents(mapping, rows);
	CHECK(row_is(&rows[told ? 3 : 2], DAX_IOMAP_MAPPED, 6 * PAGE, PAGE));
	same_bytes(mapping);
	dax_mapping_put(mapping);
	gone();
}

static void new_and_dirty(void)
{
	struct dax_mapping *mapping;
	const struct dax_iomap_ops *ops;
	struct dax_iomap iomap = { 0 };
	void *priv;

	make(MIB);
	foreign(PAGE, PAGE, 'a');
	mapping = open_rw();
	ops = mapping->ops;
	priv = mapping->private_data;
	EQ(ops->iomap_begin(mapping, priv, PAGE, PAGE, 0, &iomap), 0);
	EQ(iomap.type, DAX_IOMAP_MAPPED);
	EQ(iomap.flags, 0);
	EQ(ops->iomap_begin(mapping, priv, PAGE, PAGE, DAX_IOMAP_WRITE, &iomap), 0);
	EQ(iomap.flags, 0);			/* no block was taken */
	EQ(ops->iomap_begin(mapping, priv, 8 * PAGE, 4 * PAGE, DAX_IOMAP_WRITE,
			    &iomap), 0);
	EQ(iomap.flags, DAX_IOMAP_F_NEW | DAX_IOMAP_F_DIRTY);
	EQ(iomap.length, 4 * PAGE);
	EQ(du(), 5 * PAGE);
	iomap.flags = 0;
	fail_always("fdatasync", -EIO);
	EQ(ops->sync(mapping, priv), -EIO);
	fail_none();
	EQ(ops->iomap_begin(mapping, priv, PAGE, PAGE, 0, &iomap), 0);
	EQ(iomap.flags, DAX_IOMAP_F_DIRTY);
	EQ(ops->sync(mapping, priv), 0);
	iomap.flags = 0;
	EQ(ops->iomap_begin(mapping, priv, PAGE, PAGE, 0, &iomap), 0);
	EQ(iomap.flags, 0);
	dax_mapping_put(mapping);
	gone();
}

/* After a sync that failed, what went by system call is stored again, too. */
static void failed_sync(void)
{
	struct dax_mapping *mapping;
	struct dax_device *dev;
	struct dax_vma *vma;

	make(MIB);
	mapping = open_rw();
	dev = dax_mapping_device(mapping);
	vma = map_pages(mapping, MIB, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	EQ(fill(mapping, 5 * PAGE, 2 * PAGE, 'a'), 2 * PAGE);
	EQ(store(vma, 9 * PAGE, 'b'), 0);
	fail_nth("fdatasync", 1, -EIO);
	EQ(dax_mapping_fsync(mapping, NULL), -EIO);
	EQ(sys_hits, 1);
	fail_none();
	EQ(dev->syncing[0], 3 << 5 | 1 << 9);
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	EQ(dev->syncing[0], 0);
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	same_bytes(mapping);
	EQ(fill(mapping, 5 * PAGE, 2 * PAGE, 'c'), 2 * PAGE);
	fail_nth("fdatasync", 1, -EIO);
	EQ(dax_mapping_fsync(mapping, NULL), -EIO);
	fail_none();
	EQ(dax_mapping_truncate(mapping, 6 * PAGE), 0);	/* what is gone is not missed */
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	same_bytes(mapping);
	MUST(!ftruncate(fd, 0));	/* cut off under a store: the medium's fault */
	EQ(dev->persist->zero_nt(dev, dev->window + 5 * PAGE, PAGE), -EIO);
	EQ(dev->persist->store(dev, dev->window + 5 * PAGE, "x", 1), -EIO);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* ---- other programs ---------------------------------------------------------------------- */

static void foreign_changes_are_seen(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma, *other;

	make(16 * MIB);
	foreign(8 * MIB, PAGE, 'a');
	mapping = open_rw();
	vma = map_shared(mapping, 16 * MIB);
	EQ(dax_vma_fault_range(vma, 0, 4096, 0, NULL, 0, NULL) > 0, 1);
	foreign(4 * MIB + 5, 1, 'b');			/* a hole, shown as zeroes */
	EQ(load(vma, 4 * MIB + 5), 'b');
	foreign(6 * MIB, 1, 'c');
	EQ(get(mapping, 6 * MIB), 'c');
	EQ(store(vma, 8 * MIB + 1, 'd'), 0);		/* dirty data ... */
	EQ(load(vma, 4 * MIB + 5), 'b');
	MUST(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * MIB,
			8 * MIB));			/* ... punched, with clean data */
	EQ(load(vma, 4 * MIB + 5), 0);
	EQ(load(vma, 8 * MIB), 0);
	EQ(load(vma, 8 * MIB + 1), 0);
	other = map_shared(mapping, 16 * MIB);		/* whose leaves are not there */
	EQ(load(other, 8 * MIB + 1), 0);
	dax_vma_put(other);
	EQ(store(vma, 8 * MIB + 1, 'e'), 0);		/* and stored to again */
	EQ(real_byte(8 * MIB + 1), 'e');
	EQ(store(vma, 4 * MIB, 'f'), 0);
	EQ(real_byte(4 * MIB), 'f');
	same_bytes(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

static void foreign_sizes_are_seen(void)
{
	struct dax_fault_info info;
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	char byte;

	make(16 * MIB);
	foreign(8 * MIB, PAGE, 'a');
	mapping = open_rw();
	vma = map_shared(mapping, 64 * MIB);
	EQ(load(vma, 8 * MIB), 'a');
	EQ(load(vma, 0), 0);
	EQ(load(vma, 12 * MIB), 0);
	MUST(!ftruncate(fd, MIB + 1));
	EQ(load(vma, 12 * MIB), -1);			/* a zero page, too, is gone */
	EQ(dax_vma_read(vma, &byte, 1, 8 * MIB, &info), -EFAULT);
	CHECK(info.fault & DAX_VM_FAULT_SIGBUS);
	EQ(get(mapping, 8 * MIB), -1);
	EQ(dax_mapping_size(mapping), MIB + 1);
	MUST(!ftruncate(fd, 32 * MIB));
	foreign(31 * MIB, 1, 'b');
	EQ(load(vma, 31 * MIB), 'b');
	EQ(load(vma, 8 * MIB), 0);
	EQ(dax_mapping_size(mapping), 32 * MIB);
	same_bytes(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* Cut off between the look at the size and the access: EIO, and it lives. */
static struct dax_vma *cut_vma;

static void cut_off(enum dax_test_point point)
{
	if (point != DAX_TEST_AFTER_IOMAP)
		return;
	dax_test.yield = NULL;
	MUST(!ftruncate(fd, 0));
}

static void cut_off_under_a_fault(void)
{
	struct dax_mapping *mapping;
	char byte = 'x';

	make(MIB);
	foreign(0, MIB, 'a');
	mapping = open_rw();
	cut_vma = map_pages(mapping, MIB, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	dax_test.yield = cut_off;
	EQ(dax_vma_read(cut_vma, &byte, 1, 5 * PAGE, NULL), -EIO);
	EQ(byte, 'x');
	MUST(!ftruncate(fd, MIB));
	foreign(0, MIB, 'b');
	EQ(load(cut_vma, 5 * PAGE), 'b');
	dax_vma_put(cut_vma);
	dax_mapping_put(mapping);
	gone();
}

/* ---- other programs, within a tick of the clock ----------------------------------------- */

/* What a coarse clock makes of it: the file has the time of the last look, which
 * was too early to trust it; and no look over all of it can be afforded. */
static void same_tick(struct dax_mapping *mapping)
{
	struct sparse_file *sf = sparse_of(mapping);
	struct sys_file_info info;

	MUST(!sys_file_info(fd, &info));
	sf->look_at = INT64_MIN;
	sf->stamp = info.ctime_ns;
	do_not_look_over(mapping);
}

/* Does a page show the zero page, of 4 KiB or of 2 MiB?  No call that looks. */
static bool shows_zero_page(struct dax_vma *vma, int64_t pos)
{
	dax_pfn_t pfn = 0;

	EQ(dax_vma_pagemap(vma, (dax_pgoff_t)(pos / PAGE), &pfn, 1), 0);
	return pfn && pfn < 2 * DAX_HUGE_ZERO_PFN;
}

/* A foreign write between changes of ours, over holes that are shown: the next
 * call that is about them sees it, of whatever kind it is. */
static void foreign_write_within_a_tick(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma, *pte, *private;
	int64_t at = 2 * MIB;

	make(64 * MIB);
	mapping = open_rw();
	vma = map_shared(mapping, 64 * MIB);
	pte = map_pages(mapping, 64 * MIB, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	private = map_private(mapping, 64 * MIB);
	dax_vma_fault_range(vma, 0, 16384, 0, NULL, 0, NULL);
	dax_vma_fault_range(pte, 0, 16384, 0, NULL, 0, NULL);
	for (int how = 0; how < 7; how++, at += 6 * MIB) {
		char byte = 0;

		EQ(store(vma, (uint64_t)at + 9 * PAGE, 'o'), 0);
		foreign(at + 5 * PAGE + 5, 1, 'f');
		EQ(fill(mapping, at + 11 * PAGE, 1, 'p'), 1);
		same_tick(mapping);
		switch (how) {
		case 0:
			EQ(load(vma, (uint64_t)at + 5 * PAGE + 5), 'f');
			break;
		case 1:
			EQ(load(pte, (uint64_t)at + 5 * PAGE + 5), 'f');
			break;
		case 2:
			EQ(get(mapping, at + 5 * PAGE + 5), 'f');
			break;
		case 3:		/* a copy is made of the page */
			EQ(store(private, (uint64_t)at + 5 * PAGE, 'c'), 0);
			EQ(load(private, (uint64_t)at + 5 * PAGE + 5), 'f');
			break;
		case 4:
			EQ(vma_fault_around(pte, (dax_pgoff_t)at / PAGE, 64, false) > 0, 1);
			EQ(dax_mapping_zero_range(mapping, at + 5 * PAGE, 6), 0);
			EQ(real_byte(at + 5 * PAGE + 5), 0);
			foreign(at + 5 * PAGE + 5, 1, 'f');
			break;
		case 5:		/* bytes beside it, by memory ... */
			EQ(store(vma, (uint64_t)at + 5 * PAGE, 's'), 0);
			break;
		default:	/* ... and by call */
			EQ(fill(mapping, at + 5 * PAGE, 1, 's'), 1);
			break;
		}
		EQ(real_byte(at + 5 * PAGE + 5), 'f');
		EQ(dax_vma_read(vma, &byte, 1, (uint64_t)at + 5 * PAGE + 5, NULL), 1);
		EQ(byte, 'f');
		EQ(load(pte, (uint64_t)at + 5 * PAGE + 5), 'f');
		check_invariants(mapping);
	}
	same_bytes(mapping);
	dax_vma_put(private);
	dax_vma_put(pte);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* Holes that were not shown to anybody yet, in two pieces of what is asked. */
static void foreign_writes_in_a_range(void)
{
	struct dax_mapping *mapping;

	make(16 * MIB);
	mapping = open_rw();
	EQ(fill(mapping, 64 * PAGE, PAGE, 'o'), PAGE);
	foreign(10 * PAGE, PAGE, 'f');
	foreign(20 * PAGE, 3, 'f');
	foreign(80 * PAGE, 2 * PAGE, 'f');
	same_tick(mapping);
	same_bytes(mapping);
	dax_mapping_put(mapping);
	gone();
}

/* 2 MiB of zeroes are not shown for the sake of a page that is a hole. */
static void foreign_write_in_2_mib(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(16 * MIB);
	mapping = open_rw();
	vma = map_shared(mapping, 16 * MIB);
	foreign(4 * MIB + 500 * PAGE, PAGE, 'f');
	foreign(8 * MIB + 5 * PAGE, PAGE, 'f');
	same_tick(mapping);
	EQ(load(vma, 4 * MIB + 5 * PAGE), 0);
	CHECK(!shows_zero_page(vma, 4 * MIB + 500 * PAGE));
	EQ(load(vma, 8 * MIB + 500 * PAGE), 0);
	CHECK(!shows_zero_page(vma, 8 * MIB + 5 * PAGE));
	EQ(load(vma, 12 * MIB), 0);
	CHECK(shows_zero_page(vma, 12 * MIB + 500 * PAGE));
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* Data that is a hole by now shows its zeroes, and is reported as what it is. */
static void foreign_punch_within_a_tick(void)
{
	struct dax_extent rows[16];
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(16 * MIB);
	mapping = open_rw();
	vma = map_pages(mapping, 16 * MIB, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	EQ(fill(mapping, 4 * PAGE, 4 * PAGE, 'o'), 4 * PAGE);
	EQ(load(vma, 4 * PAGE), 'o');
	EQ(store(vma, 5 * PAGE, 'd'), 0);
	MUST(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * PAGE,
			2 * PAGE));
	EQ(fill(mapping, 8 * MIB, 1, 'o'), 1);
	same_tick(mapping);
	EQ(extents(mapping, rows), 5);
	CHECK(row_is(&rows[0], DAX_IOMAP_HOLE, 0, 6 * PAGE));
	CHECK(row_is(&rows[1], DAX_IOMAP_MAPPED, 6 * PAGE, 2 * PAGE));
	EQ(load(vma, 4 * PAGE), 0);
	EQ(load(vma, 5 * PAGE), 0);
	EQ(get(mapping, 4 * PAGE), 0);
	EQ(store(vma, 5 * PAGE + 1, 'e'), 0);
	EQ(store(vma, 4 * PAGE, 'e'), 0);
	EQ(real_byte(4 * PAGE), 'e');
	EQ(real_byte(5 * PAGE), 0);
	EQ(real_byte(5 * PAGE + 1), 'e');
	same_bytes(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

static void foreign_truncate_within_a_tick(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(16 * MIB);
	foreign(8 * MIB, PAGE, 'a');
	mapping = open_rw();
	vma = map_shared(mapping, 16 * MIB);
	EQ(load(vma, 8 * MIB), 'a');
	EQ(load(vma, 12 * MIB), 0);
	EQ(store(vma, PAGE, 'o'), 0);
	MUST(!ftruncate(fd, MIB));
	same_tick(mapping);
	EQ(load(vma, 12 * MIB), -1);
	EQ(store(vma, 8 * MIB, 'x'), -1);
	EQ(get(mapping, 8 * MIB), -1);
	EQ(dax_mapping_size(mapping), MIB);
	MUST(!ftruncate(fd, 16 * MIB));
	foreign(12 * MIB, 1, 'b');
	same_tick(mapping);
	EQ(load(vma, 12 * MIB), 'b');
	EQ(load(vma, 8 * MIB), 0);
	CHECK(shows_zero_page(vma, 8 * MIB));
	EQ(store(vma, 8 * MIB + 1, 'o'), 0);
	MUST(!ftruncate(fd, 0));		/* and as long as before */
	MUST(!ftruncate(fd, 16 * MIB));
	foreign(4 * MIB, 1, 'c');
	same_tick(mapping);
	EQ(load(vma, 8 * MIB + 1), 0);
	EQ(load(vma, 4 * MIB), 'c');
	same_bytes(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* While a call of ours changes the size nobody follows it, or they would wait. */
static void own_sizes_are_left_alone(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(MIB);
	mapping = open_rw();
	vma = map_shared(mapping, MIB);
	same_tick(mapping);
	sparse_of(mapping)->resizing = 1;
	MUST(!ftruncate(fd, 2 * MIB));
	EQ(load(vma, 0), 0);
	EQ(i_size_read(mapping), MIB);
	sparse_of(mapping)->resizing = 0;
	EQ(load(vma, 0), 0);
	EQ(i_size_read(mapping), 2 * MIB);
	EQ(fill(mapping, 2 * MIB, 1, 'a'), 1);
	EQ(dax_mapping_truncate(mapping, 3 * MIB), 0);
	EQ(fill(mapping, -1, 1, 'a'), -EINVAL);
	EQ(sparse_of(mapping)->resizing, 0);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* ---- what it costs ------------------------------------------------------------------------ */

static int seeks;

static int count_seeks(const char *name)
{
	seeks += !strcmp(name, "lseek");
	return 0;
}

static void count_from_here(void)
{
	seeks = 0;
	dax_test.fail_sys = count_seeks;
}

/* No call looks at more of the file than it is about, and stores at none. */
static void calls_look_at_their_own_pages(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(64 * MIB);
	for (int i = 0; i < 100; i++)
		foreign(32 * MIB + i * 2 * PAGE, 1, 'f');
	mapping = open_rw();
	vma = map_pages(mapping, 64 * MIB, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	same_tick(mapping);
	count_from_here();
	for (int i = 0; i < 1000; i++) {
		EQ(fill(mapping, i * 2 * PAGE, 1, 'a'), 1);
		EQ(store(vma, (uint64_t)(i + 2000) * 2 * PAGE, 'b'), 0);
		EQ(get(mapping, i * 2 * PAGE), 'a');
	}
	EQ(seeks, 0);
	for (int i = 0; i < 1000; i++)
		EQ(load(vma, (uint64_t)(2 * i + 1) * PAGE), 0);
	EQ(seeks, 1000);
	dax_test.fail_sys = NULL;
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* A quiet file is known, and costs no look at all. */
static void quiet_files_are_known(void)
{
	struct dax_mapping *mapping;
	struct sparse_file *sf;
	struct dax_vma *vma;

	make(16 * MIB);
	mapping = open_rw();
	sf = sparse_of(mapping);
	vma = map_pages(mapping, 16 * MIB, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	CHECK(sf->look_at != INT64_MAX);	/* made a moment ago */
	same_tick(mapping);
	sf->look_at = INT64_MAX;
	count_from_here();
	EQ(load(vma, 0), 0);
	EQ(seeks, 0);
	foreign(PAGE, 1, 'f');
	EQ(load(vma, PAGE), 'f');
	CHECK(seeks > 0);
	dax_test.fail_sys = NULL;
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
	mapping = NULL;
	MUST(!dax_mapping_open(&mapping, "/bin/sh", 0, 0));
	EQ(sparse_of(mapping)->look_at, INT64_MAX);
	dax_mapping_put(mapping);
}

/* Leaves that nobody asks about go when all of the file is looked over: at once,
 * but for no more than a share of the time. */
static void all_is_looked_over(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(16 * MIB);
	mapping = open_rw();
	vma = map_pages(mapping, 16 * MIB, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	EQ(load(vma, 5 * PAGE), 0);
	foreign(5 * PAGE, 1, 'f');
	foreign(6 * PAGE, 1, 'f');
	same_tick(mapping);
	EQ(store(vma, 9 * PAGE, 'o'), 0);
	CHECK(shows_zero_page(vma, 5 * PAGE));
	sparse_of(mapping)->look_cost = 0;
	EQ(store(vma, 10 * PAGE, 'o'), 0);
	CHECK(!shows_zero_page(vma, 5 * PAGE));
	CHECK(sparse_of(mapping)->look_cost > 0);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* ---- refused ------------------------------------------------------------------------------- */

static void refused(const char *name, dax_loff_t size, unsigned int flags,
		    int err, const char *message)
{
	struct dax_mapping *mapping = NULL;

	EQ(dax_mapping_open(&mapping, name, size, flags), err);
	CHECK(!mapping);
	CHECK(errormsg_has(message));
	if (!errormsg_has(message))
		printf("# said: %s\n", dax_errormsg());
}

static void not_opened(void)
{
	char other[PATH_MAX + 8];

	make(MIB);
	refused(tmpdir, 0, 0, -EISDIR, "directory");
	refused(tmpdir, 0, WRITE, -EISDIR, "s a directory");
	refused("/dev/null", 0, 0, -ENODEV, "not a regular file");
	refused("/proc/self/maps", 0, 0, -ENODEV, "cannot map");
	refused("/no/such/file", 0, WRITE, -ENOENT, "No such file");
	refused("/no/such/file", 0, TRUNCATE, -ENOENT, "No such file");
	refused(path, 0, 8, -EINVAL, "0x8");
	refused(path, -1, WRITE, -EINVAL, "size -1");
	refused(path, PAGE, 0, -EINVAL, "has its own size");
	refused(path, INT64_C(1) << 47, WRITE, -EFBIG, "64 TiB");
	snprintf(other, sizeof(other), "%s-made", path);
	refused(other, INT64_C(1) << 47, TRUNCATE, -EFBIG, "64 TiB");
	EQ(access(other, F_OK), -1);		/* made, and taken away again */
	EQ(real_size(), MIB);
	snprintf(other, sizeof(other), "%s-fifo", path);
	MUST(!mkfifo(other, 0600));
	refused(other, 0, 0, -ENODEV, "not a regular file");
	unlink(other);
	gone();
}

/* Only reading: nothing is stored, by no way. */
static void read_only(void)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .length = MIB, .flags = RW | DAX_VM_SHARED,
	};
	struct dax_mapping *mapping;
	struct dax_vma *vma = NULL;

	make(MIB);
	foreign(0, PAGE, 'a');
	mapping = open_flags(0);
	EQ(fill(mapping, 0, 1, 'b'), -EROFS);
	EQ(dax_mapping_truncate(mapping, 0), -EROFS);
	EQ(dax_mapping_punch_hole(mapping, 0, PAGE), -EROFS);
	EQ(dax_mapping_fallocate(mapping, 0, 2 * MIB), -EROFS);
	EQ(dax_vma_new(&vma, mapping, &attr), -EROFS);
	vma = map_private(mapping, MIB);
	EQ(store(vma, 0, 'b'), 0);
	EQ(store(vma, 5 * PAGE, 'b'), 0);
	EQ(load(vma, 0), 'b');
	EQ(real_byte(0), 'a');
	EQ(du(), PAGE);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

static void window_holds_no_other_file(void)
{
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr), .size = PAGE };
	struct dax_mapping *mapping, *other = NULL;

	make(MIB);
	mapping = open_rw();
	EQ(dax_mapping_new(&other, dax_mapping_device(mapping), &attr), -EINVAL);
	CHECK(errormsg_has("holds no other files"));
	EQ(dax_device_free_bytes(dax_mapping_device(mapping)), 0);
	EQ(dax_device_nr_files(dax_mapping_device(mapping)), 1);
	EQ(dax_device_kill(dax_mapping_device(mapping)), 0);
	EQ(fill(mapping, 0, 1, 'a'), -ENXIO);
	dax_mapping_put(mapping);
	gone();
}

static void beyond_the_window(void)
{
	struct dax_mapping *mapping;
	int64_t window;

	make(MIB);
	mapping = open_rw();
	window = (int64_t)dax_device_size(dax_mapping_device(mapping));
	CHECK(window >= 16 * GIB);
	EQ(dax_mapping_truncate(mapping, window + 1), -EFBIG);
	EQ(dax_mapping_fallocate(mapping, window, 1), -EFBIG);
	EQ(fill(mapping, window, 1, 'a'), -EFBIG);
	EQ(real_size(), MIB);
	EQ(dax_mapping_truncate(mapping, window), 0);
	EQ(fill(mapping, window - 1, 1, 'a'), 1);
	EQ(get(mapping, window - 1), 'a');
	if (!ftruncate(fd, window + 1)) {	/* somebody else can */
		EQ(fill(mapping, 0, 1, 'a'), -EFBIG);
		MUST(!ftruncate(fd, MIB));
		EQ(fill(mapping, 0, 1, 'a'), 1);
	}
	dax_mapping_put(mapping);
	gone();
}

/* A limit of the process is an error, not the signal that ends it. */
static void file_size_limit(void)
{
	struct rlimit old, low = { 0 };
	struct dax_mapping *mapping;

	make(MIB);
	mapping = open_rw();
	MUST(!getrlimit(RLIMIT_FSIZE, &old));
	low = (struct rlimit){ .rlim_cur = 2 * MIB, .rlim_max = old.rlim_max };
	MUST(!setrlimit(RLIMIT_FSIZE, &low));
	EQ(dax_mapping_truncate(mapping, 3 * MIB), -EFBIG);
	EQ(dax_mapping_fallocate(mapping, 3 * MIB, 1), -EFBIG);
	EQ(fill(mapping, 3 * MIB, 1, 'a'), -EFBIG);
	EQ(fill(mapping, 2 * MIB - 5, 10, 'a'), 5);
	MUST(!setrlimit(RLIMIT_FSIZE, &old));
	EQ(real_size(), 2 * MIB);
	same_bytes(mapping);
	dax_mapping_put(mapping);
	gone();
}

/* ---- injected errors -------------------------------------------------------------------------- */

/* One operation; 0 or -errno. */
static int operate(struct dax_mapping *mapping, struct dax_vma *vma, int what)
{
	struct dax_extent rows[16];
	char bytes[3] = "";
	int64_t ret;

	switch (what) {
	case 0:
		ret = dax_vma_write(vma, "x", 1, 40 * PAGE, NULL);
		break;
	case 1:
		ret = fill(mapping, 50 * PAGE, 3 * PAGE, 'y');
		break;
	case 2:
		ret = fill(mapping, 64 * PAGE + 5, 10, 'z');
		break;
	case 3:
		ret = dax_mapping_truncate(mapping, 32 * PAGE + 7);
		break;
	case 4:
		ret = dax_mapping_truncate(mapping, 100 * PAGE);
		break;
	case 5:
		ret = dax_mapping_fallocate(mapping, 70 * PAGE, 4 * PAGE);
		break;
	case 6:
		ret = dax_mapping_punch_hole(mapping, 3 * PAGE + 1, 9 * PAGE);
		break;
	case 7:
		ret = dax_mapping_pread(mapping, bytes, 3, 5 * PAGE);
		break;
	case 8:
		ret = extents(mapping, rows);
		break;
	default:
		ret = mapping->ops->sync(mapping, mapping->private_data);
		break;
	}
	return ret < 0 ? (int)ret : 0;
}

/* The nth time that call is made in that operation it fails; whatever comes of
 * it, the engine then says what the file holds, and the operation can be done. */
static bool fails_cleanly(const char *name, int what, int nth)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	bool hit;
	int ret;

	make(64 * PAGE);
	foreign(0, 16 * PAGE, 'a');
	mapping = open_rw();
	vma = map_pages(mapping, 64 * PAGE, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	dax_vma_fault_range(vma, 0, 64, 0, NULL, 0, NULL);
	foreign(20 * PAGE, PAGE, 'b');		/* something to look over */
	fail_nth(name, nth, -EIO);
	ret = operate(mapping, vma, what);
	fail_none();
	hit = sys_hits;
	CHECK(ret == 0 || ret == -EIO);
	CHECK(!ret || hit);
	same_bytes(mapping);
	EQ(operate(mapping, vma, what), 0);
	same_bytes(mapping);
	EQ(load(vma, 20 * PAGE), real_byte(20 * PAGE));
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
	return hit;
}

static void system_calls_fail(void)
{
	static const char *const names[] = {
		"fstat", "lseek", "fiemap", "ftruncate", "fallocate", "punch",
		"pwrite", "pread", "fdatasync",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int hits = 0;

		for (int what = 0; what < 10; what++)
			for (int nth = 1; fails_cleanly(names[i], what, nth); nth++)
				hits++;
		if (!hits)
			printf("# %s was never called\n", names[i]);
		CHECK(hits);
	}
}

static void opening_fails(void)
{
	static const char *const names[] = { "fstat", "lseek", "flock", "mmap" };

	make(MIB);
	foreign(0, PAGE, 'a');
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		for (int nth = 1;; nth++) {
			struct dax_mapping *mapping = NULL;
			int ret;

			fail_nth(names[i], nth, -EIO);
			ret = dax_mapping_open(&mapping, path, 0, WRITE);
			fail_none();
			if (mapping)
				dax_mapping_put(mapping);
			EQ(flock(fd, LOCK_EX | LOCK_NB), 0);	/* nothing stays locked */
			flock(fd, LOCK_UN);
			if (!sys_hits)
				break;
			CHECK(ret == -EIO || !strcmp(names[i], "mmap"));
			CHECK(ret || mapping);
		}
	gone();
}

static void no_memory(void)
{
	struct dax_mapping *mapping = NULL;
	int lowest = dup(0), now;

	close(lowest);
	make(MIB);
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = dax_mapping_open(&mapping, path, 0, WRITE);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		CHECK(ret == -ENOMEM || ret == 0);	/* 0: with a smaller window */
		CHECK(ret || mapping);
		if (!ret)
			dax_mapping_put(mapping);
		mapping = NULL;
	}
	CHECK(oom_rounds() > 3);
	dax_mapping_put(mapping);
	gone();
	now = dup(0);
	EQ(now, lowest);	/* no descriptor was left behind */
	close(now);
}

/* A punch that fails half way: what it did is found. */
static int half_punch(const char *name)
{
	if (strcmp(name, "punch"))
		return 0;
	MUST(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
	return -EIO;
}

static void half_done(void)
{
	struct dax_extent rows[16];
	struct dax_mapping *mapping;

	make(64 * PAGE);
	foreign(0, 4 * PAGE, 'a');
	mapping = open_rw();
	dax_test.fail_sys = half_punch;
	EQ(dax_mapping_punch_hole(mapping, 0, 2 * PAGE), -EIO);
	fail_none();
	EQ(extents(mapping, rows), 3);
	CHECK(row_is(&rows[0], DAX_IOMAP_HOLE, 0, PAGE));
	CHECK(row_is(&rows[1], DAX_IOMAP_MAPPED, PAGE, 3 * PAGE));
	dax_mapping_put(mapping);
	gone();
}

/* ---- file systems that can do less ---------------------------------------------------------------- */

static void no_seek_hole(void)
{
	struct dax_extent rows[16];
	struct dax_mapping *mapping;

	make(64 * PAGE);
	foreign(0, PAGE, 'a');
	fail_always("lseek", -EINVAL);
	mapping = open_rw();
	EQ(extents(mapping, rows), 1);
	CHECK(row_is(&rows[0], DAX_IOMAP_MAPPED, 0, 64 * PAGE));
	same_bytes(mapping);
	EQ(fill(mapping, 70 * PAGE, 1, 'b'), 1);
	EQ(dax_mapping_truncate(mapping, 80 * PAGE), 0);
	EQ(dax_mapping_punch_hole(mapping, 0, PAGE), 0);
	EQ(extents(mapping, rows), 1);
	CHECK(row_is(&rows[0], DAX_IOMAP_MAPPED, 0, 80 * PAGE));
	same_bytes(mapping);
	fail_none();
	dax_mapping_put(mapping);
	gone();
}

static void no_punch_no_fallocate(void)
{
	struct dax_mapping *mapping;

	make(64 * PAGE);
	foreign(0, 4 * PAGE, 'a');
	mapping = open_rw();
	fail_always("punch", -EOPNOTSUPP);
	EQ(dax_mapping_punch_hole(mapping, 0, PAGE), -EOPNOTSUPP);
	CHECK(errormsg_has("punch a hole"));
	EQ(get(mapping, 0), 'a');
	fail_always("fallocate", -EOPNOTSUPP);
	EQ(dax_mapping_fallocate(mapping, 0, PAGE), -EOPNOTSUPP);
	EQ(fill(mapping, 32 * PAGE, 1, 'b'), 1);
	fail_none();
	same_bytes(mapping);
	dax_mapping_put(mapping);
	gone();
}

static void full_file_system(void)
{
	struct dax_fault_info info;
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	char dir[PATH_MAX + 8], was[PATH_MAX];
	char byte = 'x';
	int64_t n;

	if (geteuid() != 0) {
		printf("# needs root: a small tmpfs is mounted\n");
		return;
	}
	snprintf(dir, sizeof(dir), "%s-full", path);
	MUST(!mkdir(dir, 0700));
	if (mount("tmpfs", dir, "tmpfs", 0, "size=1m")) {
		printf("# needs root: mount is not allowed\n");
		rmdir(dir);
		return;
	}
	strcpy(was, path);
	MUST(snprintf(path, sizeof(path), "%s/f", dir) < (int)sizeof(path));
	make(8 * MIB);
	mapping = open_rw();
	vma = map_pages(mapping, 8 * MIB, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	EQ(load(vma, 4 * MIB), 0);
	n = fill(mapping, 0, 2 * MIB, 'a');		/* half of it has room */
	CHECK(n > MIB / 2 && n <= MIB);
	EQ(fill(mapping, 4 * MIB, 1, 'b'), -ENOSPC);
	EQ(dax_vma_write(vma, &byte, 1, 4 * MIB, &info), -ENOSPC);
	CHECK(info.fault & DAX_VM_FAULT_SIGBUS);
	CHECK(errormsg_has("No space left"));
	EQ(load(vma, 4 * MIB), 0);
	EQ(load(vma, 2 * MIB - PAGE), 0);		/* the part that had none */
	EQ(dax_mapping_fallocate(mapping, 4 * MIB, 2 * MIB), -ENOSPC);
	EQ(load(vma, 4 * MIB), 0);
	EQ(dax_mapping_punch_hole(mapping, 0, MIB / 2), 0);
	EQ(store(vma, 4 * MIB, 'c'), 0);		/* the same store, with room */
	EQ(load(vma, 4 * MIB), 'c');
	EQ(real_byte(4 * MIB), 'c');
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
	strcpy(path, was);
	MUST(!umount(dir));
	rmdir(dir);
}

/* ---- blocks taken ahead of stores ---------------------------------------------------- */

/* But for a block of the file system's own, when there are many extents. */
static bool du_is(int64_t bytes)
{
	return du() == bytes || du() == bytes + PAGE;
}

/* What is ahead would be given back by a look over. */
static struct dax_vma *map_pte(struct dax_mapping *mapping)
{
	do_not_look_over(mapping);
	return map_pages(mapping, 16 * MIB, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
}

static void taken_ahead_and_given_back(void)
{
	struct dax_extent rows[16];
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(16 * MIB);
	foreign(100 * PAGE, PAGE, 'a');
	mapping = open_rw();
	vma = map_pte(mapping);
	EQ(vma_fault_around(vma, 8, 64, true), 64);
	EQ(stat_of(mapping, DAX_STAT_FAULT_AROUND), 64);
	check_invariants(mapping);
	EQ(vma_fault_around(vma, 80, 64, true), 20);
	CHECK(du_is(85 * PAGE));
	EQ(store(vma, 8 * PAGE, 'x'), 0);
	EQ(store(vma, 40 * PAGE, 'y'), 0);
	EQ(stat_of(mapping, DAX_STAT_PTE_FAULT), 0);
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	CHECK(du_is(4 * PAGE));	/* page 80 was asked for */
	EQ(real_byte(8 * PAGE), 'x');
	EQ(real_byte(40 * PAGE), 'y');
	EQ(lseek(fd, 0, SEEK_DATA), 8 * PAGE);
	EQ(lseek(fd, 9 * PAGE, SEEK_DATA), 40 * PAGE);
	EQ(extents(mapping, rows), 9);
	EQ(load(vma, 9 * PAGE), 0);
	EQ(load(vma, 100 * PAGE), 'a');
	same_bytes(mapping);
	check_invariants(mapping);
	EQ(vma_fault_around(vma, 200, 512, true), 312);
	dax_vma_put(vma);
	CHECK(du_is(5 * PAGE));
	dax_mapping_put(mapping);
	gone();
}

/* What was set aside is the file's, also before it was opened. */
static void set_aside_is_not_ahead(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	uint64_t start, end;
	int64_t before;
	bool told;

	make(16 * MIB);
	MUST(!posix_fallocate(fd, 32 * PAGE, 32 * PAGE));
	told = sys_fiemap(fd, 0, PAGE, &start, &end) != -EOPNOTSUPP;
	mapping = open_rw();
	vma = map_pte(mapping);
	before = du();
	EQ(vma_fault_around(vma, 40, 64, true), 1);
	EQ(vma_fault_around(vma, 0, 64, true), told ? 32 : 1);
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	CHECK(du_is(before + PAGE));
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

static void set_aside_by_us_is_not_ahead(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	uint64_t start, end;
	bool told;

	make(16 * MIB);
	told = sys_fiemap(fd, 0, PAGE, &start, &end) != -EOPNOTSUPP;
	mapping = open_rw();
	vma = map_pte(mapping);
	EQ(dax_mapping_fallocate(mapping, 100 * PAGE, 8 * PAGE), 0);
	EQ(vma_fault_around(vma, 90, 64, true), told ? 10 : 1);
	EQ(vma_fault_around(vma, 101, 64, true), 1);
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	CHECK(du_is(9 * PAGE));
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* Foreign changes are looked for when nothing is ahead. */
static void ahead_beside_other_programs(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(16 * MIB);
	mapping = open_rw();
	vma = map_pte(mapping);
	EQ(vma_fault_around(vma, 0, 64, true), 64);
	EQ(store(vma, 5 * PAGE, 'x'), 0);
	foreign(6 * PAGE, PAGE, 'f');
	foreign(300 * PAGE, PAGE, 'g');
	EQ(get(mapping, 6 * PAGE), 'f');
	EQ(get(mapping, 300 * PAGE), 'g');
	EQ(get(mapping, 5 * PAGE), 'x');
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	CHECK(du_is(4 * PAGE));
	same_bytes(mapping);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* A run that finds no room is the fault of a page. */
static void no_room_ahead(void)
{
	static const char *const calls[] = { "fallocate", "fiemap" };
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(16 * MIB);
	mapping = open_rw();
	vma = map_pte(mapping);
	for (int i = 0; i < 2; i++) {
		fail_nth(calls[i], 1, -ENOSPC);
		EQ(vma_fault_around(vma, (dax_pgoff_t)i * 100, 64, true), 1);
		EQ(sys_hits, 1);
		fail_none();
	}
	CHECK(du_is(2 * PAGE));
	fail_always("punch", -EOPNOTSUPP);
	EQ(vma_fault_around(vma, 200, 8, true), 8);
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	fail_none();
	CHECK(du_is(10 * PAGE));	/* once: the file system cannot punch */
	EQ(vma_fault_around(vma, 300, 8, true), 1);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* ---- one mapping for each file ------------------------------------------------------------------------ */

static void opened_twice(void)
{
	struct dax_mapping *one, *two;
	struct dax_vma *vma;
	char other[PATH_MAX + 8];

	make(MIB);
	foreign(0, PAGE, 'a');
	snprintf(other, sizeof(other), "%s-link", path);
	MUST(!link(path, other));
	one = open_flags(0);
	MUST(!dax_mapping_open(&two, other, 0, 0));
	CHECK(one == two);
	dax_mapping_put(two);
	vma = map_pages(one, MIB, DAX_VM_READ | DAX_VM_SHARED, DAX_PAGES_PTE);
	EQ(load(vma, 0), 'a');
	EQ(load(vma, PAGE), 0);
	EQ(fill(one, 0, 1, 'b'), -EROFS);
	two = open_rw();			/* the same, writable from now on */
	CHECK(one == two);
	EQ(dax_device_readonly(dax_mapping_device(one)), 0);
	EQ(fill(two, PAGE, 1, 'b'), 1);
	EQ(load(vma, PAGE), 'b');
	dax_mapping_put(two);
	EQ(fill(one, 2 * PAGE, 1, 'c'), 1);
	EQ(load(vma, 2 * PAGE), 'c');
	MUST(!dax_mapping_open(&two, path, 0, TRUNCATE));
	CHECK(one == two);
	EQ(real_size(), 0);
	EQ(load(vma, 0), -1);
	dax_mapping_put(two);
	dax_mapping_put(one);
	MUST(!unlink(path));
	EQ(load(vma, 0), -1);			/* the vma has it still */
	dax_vma_put(vma);
	unlink(other);
	gone();
}

/* A process that holds a lock on the file; a byte down the pipe ends it. */
static pid_t holder(int how, int *ret_pipe)
{
	int ready[2], end[2];
	char byte;
	pid_t pid;

	MUST(!pipe(ready) && !pipe(end));
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		int own = open(path, O_RDWR);

		close(end[1]);
		_exit(flock(own, how | LOCK_NB) || write(ready[1], "", 1) != 1 ||
		      read(end[0], &byte, 1) < 0);
	}
	MUST(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	close(end[0]);
	*ret_pipe = end[1];
	return pid;
}

static void release(pid_t pid, int pipe_fd)
{
	int status;

	close(pipe_fd);
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

static void locked_by_others(void)
{
	struct dax_mapping *mapping, *again = NULL;
	char text[32];
	int pipe_fd;
	pid_t pid;

	make(MIB);
	pid = holder(LOCK_EX, &pipe_fd);
	snprintf(text, sizeof(text), "by process %d", (int)pid);
	refused(path, 0, 0, -EBUSY, text);
	refused(path, 0, WRITE, -EBUSY, text);
	refused(path, 0, TRUNCATE, -EBUSY, text);
	EQ(real_size(), MIB);
	release(pid, pipe_fd);
	pid = holder(LOCK_SH, &pipe_fd);
	refused(path, 0, WRITE, -EBUSY, "by another that has it open");
	mapping = open_flags(0);		/* readers are many */
	EQ(get(mapping, 0), 0);
	EQ(dax_mapping_open(&again, path, 0, WRITE), -EBUSY);
	EQ(dax_device_readonly(dax_mapping_device(mapping)), 1);
	release(pid, pipe_fd);
	EQ(flock(fd, LOCK_EX | LOCK_NB), -1);	/* the shared one is there again */
	again = open_rw();
	EQ(flock(fd, LOCK_SH | LOCK_NB), -1);
	dax_mapping_put(again);
	dax_mapping_put(mapping);
	EQ(flock(fd, LOCK_EX | LOCK_NB), 0);
	gone();
}

static void upgrade_fails(void)
{
	struct dax_mapping *mapping, *again = NULL;

	make(MIB);
	mapping = open_flags(0);
	fail_always("mmap", -ENOMEM);
	EQ(dax_mapping_open(&again, path, 0, WRITE), -ENOMEM);
	fail_none();
	EQ(dax_device_readonly(dax_mapping_device(mapping)), 1);
	EQ(get(mapping, 0), 0);
	EQ(flock(fd, LOCK_SH | LOCK_NB), 0);
	flock(fd, LOCK_UN);
	dax_mapping_put(mapping);
	EQ(flock(fd, LOCK_EX | LOCK_NB), 0);
	gone();
}

/* In a child the parent's file is stale, and its own open is kept out. */
static void forked(void)
{
	struct dax_mapping *mapping, *own = NULL;
	int status;
	pid_t pid;

	make(MIB);
	mapping = open_rw();
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		bool good = get(mapping, 0) == -1 &&
			    fill(mapping, 0, 1, 'x') == -ESTALE &&
			    dax_mapping_open(&own, path, 0, WRITE) == -EBUSY;

		dax_mapping_put(mapping);
		_exit(!good);
	}
	MUST(waitpid(pid, &status, 0) == pid);
	EQ(status, 0);
	EQ(get(mapping, 0), 0);
	dax_mapping_put(mapping);
	gone();
}

/* ---- threads --------------------------------------------------------------------------------------------- */

enum { NR_THREADS = 4, NR_ROUNDS = 300 };

static void *open_and_close(void *arg)
{
	uint64_t *wrong = arg;

	for (int i = 0; i < NR_ROUNDS; i++) {
		struct dax_mapping *mapping = NULL;

		if (dax_mapping_open(&mapping, path, 0, i % 3 ? 0 : WRITE)) {
			++*wrong;
			printf("# %s\n", dax_errormsg());
			continue;
		}
		*wrong += get(mapping, 5 * PAGE) != 'a';
		dax_mapping_put(mapping);
	}
	return NULL;
}

static void opening_beside_closing(void)
{
	pthread_t threads[NR_THREADS];
	uint64_t wrong[NR_THREADS] = { 0 };

	make(MIB);
	foreign(5 * PAGE, 1, 'a');
	for (int i = 0; i < NR_THREADS; i++)
		MUST(!pthread_create(&threads[i], NULL, open_and_close, &wrong[i]));
	for (int i = 0; i < NR_THREADS; i++) {
		pthread_join(threads[i], NULL);
		EQ(wrong[i], 0);
	}
	EQ(flock(fd, LOCK_EX | LOCK_NB), 0);
	gone();
}

struct worker {
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	int id;
	uint64_t wrong;
};

/* Each has its own pages, side by side; all of them change the same words. */
static void *work(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < NR_ROUNDS; i++) {
		int64_t pos = (i * NR_THREADS + w->id) * PAGE;

		w->wrong += load(w->vma, (uint64_t)pos) != 0;
		if (i % 3 == 0)
			w->wrong += fill(w->mapping, pos, 10, 'p') != 10;
		else if (i % 3 == 1)
			w->wrong += store(w->vma, (uint64_t)pos, 'p') != 0;
		w->wrong += load(w->vma, (uint64_t)pos) != (i % 3 < 2 ? 'p' : 0);
		w->wrong += get(w->mapping, pos) != (i % 3 < 2 ? 'p' : 0);
	}
	return NULL;
}

static void threads_share_a_file(void)
{
	pthread_t threads[NR_THREADS];
	struct worker workers[NR_THREADS];
	struct dax_mapping *mapping;
	struct dax_vma *vma;

	make(NR_ROUNDS * NR_THREADS * PAGE);
	mapping = open_rw();
	vma = map_shared(mapping, NR_ROUNDS * NR_THREADS * PAGE);
	for (int i = 0; i < NR_THREADS; i++) {
		workers[i] = (struct worker){ mapping, vma, i, 0 };
		MUST(!pthread_create(&threads[i], NULL, work, &workers[i]));
	}
	for (int i = 0; i < NR_THREADS; i++) {
		pthread_join(threads[i], NULL);
		EQ(workers[i].wrong, 0);
	}
	EQ(du(), NR_ROUNDS * NR_THREADS * PAGE * 2 / 3);
	same_bytes(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* ---- figures ---------------------------------------------------------------------------------------------- */

static void a_hundred_gib(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	int64_t before;
	uint64_t bytes;

	make(100 * GIB);
	foreign(50 * GIB, MIB, 'a');
	before = du();
	mapping = open_rw();
	vma = map_shared(mapping, 100 * GIB);
	EQ(dax_vma_fault_range(vma, 0, 100 * GIB / PAGE, 0, NULL, 0, NULL),
	   51199 + 512);
	EQ(stat_of(mapping, DAX_STAT_PMD_LOAD_HOLE), 51199);
	EQ(stat_of(mapping, DAX_STAT_LOAD_HOLE), 256);
	bytes = gauge_of(mapping, DAX_GAUGE_TREE_BYTES) +
		gauge_of(mapping, DAX_GAUGE_PAGE_TABLE_BYTES) +
		gauge_of(mapping, DAX_GAUGE_BLOCK_MAP_BYTES);
	printf("# %" PRIu64 " bytes of tree, page tables and block map\n", bytes);
	CHECK(bytes < 2 * MIB || DAX_TREE_SHIFT != 9);
	EQ(du(), before);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	gone();
}

/* ---- a write beside a fault --------------------------------------------------------------------------------- */

static void store_first_body(void *vma)
{
	EQ(store(vma, 9, 's'), 0);
}

static void put_first_body(void *mapping)
{
	EQ(put(mapping, 0, 'w'), 0);
}

/* A store has got its block and not yet taken the zero page away: the page is
 * data, and another mapping shows it as a hole.  A pwrite waits for that. */
static void write_beside_a_fault(void)
{
	struct dax_mapping *mapping;
	struct dax_vma *reader, *vma;
	struct step fault, writer;

	make(4 * PAGE);
	mapping = open_rw();
	reader = map_shared(mapping, 4 * PAGE);
	vma = map_shared(mapping, 4 * PAGE);
	dax_test = (struct dax_test_hooks){ .yield = step_yield, .no_spin = true };
	EQ(load(reader, 0), 0);
	do_not_look_over(mapping);	/* it waits for faults */
	step_start(&fault, store_first_body, vma, DAX_TEST_AFTER_IOMAP);
	MUST(step_parked(&fault));
	step_start(&writer, put_first_body, mapping, DAX_TEST_BEFORE_SLEEP);
	CHECK(step_parked(&writer) || load(reader, 0) == 'w');
	step_go(&fault, STEP_NOWHERE);
	step_go(&writer, STEP_NOWHERE);
	step_join(&fault);
	step_join(&writer);
	EQ(load(reader, 0), 'w');
	EQ(get(mapping, 9), 's');
	dax_test = (struct dax_test_hooks){ 0 };
	dax_vma_put(vma);
	dax_vma_put(reader);
	dax_mapping_put(mapping);
	gone();
}

/* ---- all of it --------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*test)(void);
} tests[] = {
	{ "holes and data", holes_and_data },
	{ "reading takes no block", reading_takes_no_block },
	{ "stores take one block each", stores_take_one_block_each },
	{ "by 2 MiB", by_2_mib },
	{ "writes set the exact size", writes_set_the_exact_size },
	{ "growth shows zeroes", growth_shows_zeroes },
	{ "truncate and punch", truncate_and_punch },
	{ "fallocated", fallocated },
	{ "new and dirty", new_and_dirty },
	{ "failed sync", failed_sync },
	{ "foreign changes are seen", foreign_changes_are_seen },
	{ "foreign sizes are seen", foreign_sizes_are_seen },
	{ "cut off under a fault", cut_off_under_a_fault },
	{ "foreign write within a tick", foreign_write_within_a_tick },
	{ "foreign writes in a range", foreign_writes_in_a_range },
	{ "foreign write in 2 MiB", foreign_write_in_2_mib },
	{ "foreign punch within a tick", foreign_punch_within_a_tick },
	{ "foreign truncate within a tick", foreign_truncate_within_a_tick },
	{ "own sizes are left alone", own_sizes_are_left_alone },
	{ "calls look at their own pages", calls_look_at_their_own_pages },
	{ "quiet files are known", quiet_files_are_known },
	{ "all is looked over", all_is_looked_over },
	{ "not opened", not_opened },
	{ "read only", read_only },
	{ "window holds no other file", window_holds_no_other_file },
	{ "beyond the window", beyond_the_window },
	{ "file size limit", file_size_limit },
	{ "system calls fail", system_calls_fail },
	{ "opening fails", opening_fails },
	{ "no memory", no_memory },
	{ "half done", half_done },
	{ "no SEEK_HOLE", no_seek_hole },
	{ "no punch, no fallocate", no_punch_no_fallocate },
	{ "full file system", full_file_system },
	{ "taken ahead and given back", taken_ahead_and_given_back },
	{ "set aside is not ahead", set_aside_is_not_ahead },
	{ "set aside by us is not ahead", set_aside_by_us_is_not_ahead },
	{ "ahead beside other programs", ahead_beside_other_programs },
	{ "no room ahead", no_room_ahead },
	{ "opened twice", opened_twice },
	{ "locked by others", locked_by_others },
	{ "upgrade fails", upgrade_fails },
	{ "forked", forked },
	{ "opening beside closing", opening_beside_closing },
	{ "threads share a file", threads_share_a_file },
	{ "a write beside a fault", write_beside_a_fault },
	{ "a hundred GiB", a_hundred_gib },
};

enum { NR_TESTS = sizeof(tests) / sizeof(tests[0]) };

static void run_all(const char *dir)
{
	char name[PATH_MAX];

	snprintf(path, sizeof(path), "%s/daxcore-sparse-%d", dir, (int)getpid());
	for (int i = 0; i < NR_TESTS; i++) {
		snprintf(name, sizeof(name), "%s (%s)", tests[i].name, dir);
		run(name, tests[i].test);
	}
}

static bool has_room(const char *dir)
{
	struct statvfs vfs;

	return !statvfs(dir, &vfs) && access(dir, W_OK) == 0 &&
	       vfs.f_bavail * vfs.f_frsize > 256 * (uint64_t)MIB;
}

int main(void)
{
	bool shm = has_room("/dev/shm");

	tmpdir_make();
	plan(shm ? 2 * NR_TESTS : NR_TESTS);
	run_all(tmpdir);
	if (shm)
		run_all("/dev/shm");
	return done();
}
