/* SPDX-License-Identifier: BSD-3-Clause */
/* test_rw.c -- pread, pwrite, zero_range and extents: bytes, ends, bad block maps */
#define _GNU_SOURCE
#include "rw.h"

#include "device.h"
#include "fixture.h"
#include "invariants.h"
#include "mock_map.h"
#include "oom.h"
#include "step.h"
#include "tmpdir.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { MIB = 1 << 20 };
static const dax_loff_t max_size = INT64_MAX - 4095;

static struct dax_device *dev;

/* ---- with the built-in block map ----------------------------------------------- */

static void ends_of_file(void)
{
	struct dax_mapping *mapping = new_file(dev, 3 * PAGE + 10);
	char buf[100];

	EQ(dax_mapping_pread(mapping, buf, 100, 3 * PAGE), 10);
	EQ(dax_mapping_pread(mapping, buf, 100, 3 * PAGE + 10), 0);
	EQ(dax_mapping_pread(mapping, buf, 100, INT64_MAX), 0);
	EQ(dax_mapping_pread(mapping, buf, 0, 0), 0);
	EQ(dax_mapping_pread(mapping, buf, 100, -1), -EINVAL);
	CHECK(errormsg_has("-1"));
	EQ(dax_mapping_pread(mapping, buf, SIZE_MAX, 3 * PAGE), 10);
	EQ(dax_mapping_pwrite(mapping, buf, 100, -1), -EINVAL);
	EQ(dax_mapping_pwrite(mapping, buf, 100, INT64_MIN), -EINVAL);
	EQ(dax_mapping_pwrite(mapping, buf, 0, 0), 0);
	EQ(dax_mapping_pwrite(mapping, buf, 0, INT64_MAX), -EFBIG);
	EQ(dax_mapping_size(mapping), 3 * PAGE + 10);
	check_invariants(mapping);
	dax_mapping_put(mapping);
}

static void bytes(void)
{
	struct dax_mapping *mapping = new_file(dev, 0);
	static char in[5 * DAX_PAGE_SIZE], out[5 * DAX_PAGE_SIZE];

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (char)(i * 7 + i / 256);
	EQ(dax_mapping_pwrite(mapping, in, 9000, 100), 9000);
	EQ(dax_mapping_size(mapping), 9100);
	EQ(dax_mapping_pread(mapping, out, sizeof(out), 100), 9000);
	CHECK(!memcmp(in, out, 9000));
	CHECK(all_bytes(mapping, 0, 100, 0));
	EQ(dax_mapping_pwrite(mapping, in, sizeof(in), 4090), sizeof(in));
	EQ(dax_mapping_pread(mapping, out, sizeof(out), 4090), sizeof(in));
	CHECK(!memcmp(in, out, sizeof(in)));
	EQ(dax_mapping_pread(mapping, out, 3990, 100), 3990);
	CHECK(!memcmp(in, out, 3990));
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 0);	/* no entries */
	check_invariants(mapping);
	dax_mapping_put(mapping);
}

/* B27: positions near 2^63. */
static void far_end(void)
{
	struct dax_mapping *mapping = new_file(dev, 0);
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .offset = max_size - PAGE,
		.length = DAX_PAGE_SIZE, .flags = RW | DAX_VM_SHARED,
	};
	struct dax_vma *vma = NULL;
	char buf[2] = { 'x', 'y' };

	EQ(dax_mapping_pwrite(mapping, buf, 1, max_size), -EFBIG);
	EQ(dax_mapping_pwrite(mapping, buf, 2, max_size - 1), -EFBIG);
	EQ(dax_mapping_pwrite(mapping, buf, 1, INT64_MAX), -EFBIG);
	EQ(dax_mapping_pwrite(mapping, buf, SIZE_MAX, 1), -EFBIG);
	EQ(dax_mapping_size(mapping), 0);
	EQ(dax_mapping_pwrite(mapping, buf, 2, max_size - 2), 2);
	EQ(dax_mapping_size(mapping), max_size);
	EQ(dax_mapping_pread(mapping, buf, 2, max_size - 1), 1);
	EQ(buf[0], 'y');
	EQ(dax_mapping_pread(mapping, buf, 2, max_size), 0);
	EQ(dax_mapping_pread(mapping, buf, 2, INT64_MAX), 0);
	EQ(dax_vma_new(&vma, mapping, &attr), 0);
	MUST(vma);
	EQ(load(vma, DAX_PAGE_SIZE - 1), 'y');
	EQ(store(vma, 0, 'z'), 0);
	EQ(get(mapping, max_size - PAGE), 'z');
	check_invariants(mapping);
	EQ(dax_mapping_punch_hole(mapping, max_size - 1, 1), 0);
	EQ(load(vma, DAX_PAGE_SIZE - 1), 0);
	EQ(dax_mapping_punch_hole(mapping, max_size - 1, 2), -EFBIG);
	EQ(dax_mapping_punch_hole(mapping, INT64_MAX, UINT64_MAX), -EFBIG);
	EQ(dax_mapping_fallocate(mapping, max_size, 1), -EFBIG);
	EQ(dax_mapping_fallocate(mapping, 1, UINT64_MAX), -EFBIG);
	EQ(dax_mapping_truncate(mapping, max_size + 1), -EFBIG);
	EQ(dax_mapping_truncate(mapping, INT64_MAX), -EFBIG);
	EQ(dax_mapping_truncate(mapping, 0), 0);
	EQ(load(vma, 0), -1);
	EQ(dax_mapping_truncate(mapping, max_size), 0);
	EQ(load(vma, 0), 0);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

/* What a mapping shows of a hole goes when the hole gets a block. */
static void writes_reach_mappings(void)
{
	struct dax_mapping *mapping = new_file(dev, 3 * PMD);
	struct dax_vma *huge = map_shared(mapping, 3 * PMD);
	struct dax_vma *small = map_pages(mapping, 3 * PMD, RW | DAX_VM_SHARED,
					  DAX_PAGES_PTE);
	struct dax_vma *copy = map_private(mapping, 3 * PMD);

	EQ(load(huge, 5), 0);				/* a huge zero page */
	EQ(load(huge, (uint64_t)PMD + 5), 0);
	EQ(load(small, (uint64_t)PMD + 5), 0);		/* 4 KiB in the second */
	EQ(load(copy, 5), 0);
	EQ(store(copy, DAX_PAGE_SIZE, 'c'), 0);
	check_invariants(mapping);
	EQ(put(mapping, 5, 'n'), 0);
	EQ(put(mapping, PMD + 5, 'm'), 0);
	check_invariants(mapping);
	EQ(load(huge, 5), 'n');
	EQ(load(copy, 5), 'n');
	EQ(load(huge, (uint64_t)PMD + 5), 'm');
	EQ(load(small, (uint64_t)PMD + 5), 'm');
	EQ(put(mapping, PAGE, 'f'), 0);
	EQ(load(copy, DAX_PAGE_SIZE), 'c');		/* its copy stays */
	EQ(load(huge, DAX_PAGE_SIZE), 'f');
	/* And stores reach reads. */
	EQ(store(huge, 2 * (uint64_t)PMD + 9, 's'), 0);
	EQ(get(mapping, 2 * PMD + 9), 's');
	check_invariants(mapping);
	dax_vma_put(huge);
	dax_vma_put(small);
	dax_vma_put(copy);
	dax_mapping_put(mapping);
}

static void writing_nothing_new_keeps_entries(void)
{
	struct dax_mapping *mapping = new_file(dev, PMD);
	struct dax_vma *vma = map_shared(mapping, PMD);
	uint64_t deleted;

	EQ(store(vma, 0, 1), 0);
	deleted = stat_of(mapping, DAX_STAT_ENTRY_DELETE);
	EQ(put(mapping, 1, 2), 0);
	EQ(stat_of(mapping, DAX_STAT_ENTRY_DELETE), deleted);
	EQ(load(vma, 1), 2);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

/* ---- with block maps that do their own --------------------------------------------- */

/* A hundred bytes at a time, the device backwards, from byte 50 on. */
static int chopped(struct mock *mock, dax_loff_t pos, uint64_t length,
		   unsigned int flags, struct dax_iomap *iomap)
{
	uint64_t chunk = (uint64_t)pos / 100;

	(void)mock;
	(void)length;
	(void)flags;
	iomap->type = DAX_IOMAP_MAPPED;
	iomap->offset = (dax_loff_t)(chunk * 100);
	iomap->length = 100;
	iomap->addr = 50 + (999 - chunk) * 100;
	return 0;
}

static void short_extents(void)
{
	struct mock mock = { .answer = chopped };
	struct dax_mapping *mapping = mock_file(&mock, dev, 100000);
	static char in[30000], out[30000];
	struct dax_extent row[4];
	dax_loff_t pos = 0;

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (char)(i * 13 + i / 100);
	EQ(dax_mapping_pwrite(mapping, in, sizeof(in), 33), sizeof(in));
	EQ(dax_mapping_pread(mapping, out, sizeof(out), 33), sizeof(out));
	CHECK(!memcmp(in, out, sizeof(in)));
	EQ(mock.begins, 2 * 301);
	CHECK(mock_is_paired(&mock));
	EQ(dev->window[50 + 999 * 100 + 33], in[0]);
	EQ(dax_mapping_extents(mapping, &pos, row, 4), 4);	/* backwards: no two merge */
	EQ(row[3].offset, 300);
	EQ(row[3].length, 100);
	EQ(pos, 400);
	CHECK(mock_is_paired(&mock));
	EQ(dev->window[50 + 998 * 100], in[67]);
	dax_mapping_put(mapping);
}

static int only_a_hole(struct mock *mock, dax_loff_t pos, uint64_t length,
		       unsigned int flags, struct dax_iomap *iomap)
{
	mock_linear(mock, pos, length, flags, iomap);
	iomap->type = mock->ret ? DAX_IOMAP_UNWRITTEN : DAX_IOMAP_HOLE;
	return 0;
}

/* A hole where a block was asked for is an error of the block map. */
static void holes_under_writes(void)
{
	struct mock mock = { .answer = only_a_hole };
	struct dax_mapping *mapping = mock_file(&mock, dev, 10 * PAGE);
	struct dax_vma *vma = map_shared(mapping, 10 * PAGE);

	for (mock.ret = 0; mock.ret < 2; mock.ret++) {
		EQ(put(mapping, 0, 1), -1);
		EQ(dax_mapping_pwrite(mapping, "x", 1, 0), -EIO);
		CHECK(errormsg_has("hole"));
		EQ(mock.written, 0);
		EQ(dax_mapping_pwrite(mapping, "x", 1, 20 * PAGE), -EIO);
		EQ(dax_mapping_size(mapping), 10 * PAGE);
		EQ(dax_vma_write(vma, "x", 1, 0, NULL), -EIO);
		EQ(mock.written, 0);
		CHECK(all_bytes(mapping, 0, 10 * PAGE, 0));
		EQ(load(vma, 0), 0);
		CHECK(mock_is_paired(&mock));
		check_invariants(mapping);
	}
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

/* An error half way: what was done is returned, and told to the block map. */
static void errors_half_way(void)
{
	char buf[1000];

	for (unsigned int n = 1; n <= 11; n++) {
		struct mock mock = { .answer = chopped, .fail_at = n };
		struct dax_mapping *mapping = mock_file(&mock, dev, 100000);
		ssize_t done = n == 11 ? 1000 : 100 * ((int)n - 1);

		EQ(dax_mapping_pread(mapping, buf, 1000, 0), done ? done : -ENOTSUP);
		CHECK(mock_is_paired(&mock));
		mock.begins = 0;
		EQ(dax_mapping_pwrite(mapping, buf, 1000, 1000), done ? done : -ENOTSUP);
		CHECK(mock_is_paired(&mock));
		EQ(mock.written, done ? 100 : 0);
		EQ(dax_mapping_size(mapping), 100000);
		dax_mapping_put(mapping);
	}
}

/* What came of a call that failed after some bytes, by each error. */
static int fail_with;

static int fails_at_8192(struct mock *mock, dax_loff_t pos, uint64_t length,
			 unsigned int flags, struct dax_iomap *iomap)
{
	if (pos >= 8192)
		return fail_with;
	mock_linear(mock, pos, length, flags, iomap);
	if (iomap->length > (uint64_t)(8192 - pos))
		iomap->length = (uint64_t)(8192 - pos);
	return 0;
}

static void errors_after_some_bytes(void)
{
	const int errors[] = { -EINTR, -ENOSPC, -EIO, -ENOMEM, -EAGAIN };
	static char buf[16384];

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct mock mock = { .answer = fails_at_8192 };
		struct dax_mapping *mapping = mock_file(&mock, dev, 16384);

		fail_with = errors[i];
		memset(buf, 'e', sizeof(buf));
		EQ(dax_mapping_pwrite(mapping, buf, 16384, 100), 8092);
		EQ(dax_mapping_pread(mapping, buf, 16384, 0), 8192);
		EQ(buf[8191], 'e');
		EQ(dax_mapping_pwrite(mapping, buf, 1, 8192), errors[i]);
		EQ(dax_mapping_pread(mapping, buf, 1, 8192), errors[i]);
		EQ(dax_mapping_zero_range(mapping, 8000, 1000), errors[i]);
		EQ(dax_mapping_pread(mapping, buf, 16384, 0), 8192);
		EQ(buf[7999], 'e');
		EQ(buf[8000], 0);	/* what came before is zeroed */
		EQ(dax_mapping_size(mapping), 16384);
		CHECK(mock_is_paired(&mock));
		fail_with = 0;
		dax_mapping_put(mapping);
	}
}

/* The caller's buffer maps a file that was truncated: -EFAULT, from both
 * sides, and the file is as it was but for bytes that were asked to change. */
static void buffer_cannot_be_touched(void)
{
	struct dax_device *file_dev;	/* opened, so that copies are guarded */
	struct dax_mapping *mapping;
	int fd = open(tmp_file("buffer", 8192, 'u'), O_RDWR);
	char *buf = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	MUST(fd >= 0 && buf != MAP_FAILED);
	MUST(!dax_device_open(&file_dev, tmp_path("device"), MIB,
			      DAX_DEVICE_CREATE | DAX_DEVICE_OVERWRITE));
	mapping = new_file(file_dev, 65536);
	EQ(fill(mapping, 0, 65536, 'f'), 65536);
	MUST(!ftruncate(fd, 4096));
	EQ(dax_mapping_pwrite(mapping, buf + 4096, 4096, 16384), -EFAULT);
	CHECK(errormsg_has("buffer"));
	EQ(dax_mapping_pread(mapping, buf + 4096, 4096, 0), -EFAULT);
	EQ(dax_mapping_pwrite(mapping, buf + 4096, 100, 70000), -EFAULT);
	EQ(dax_mapping_size(mapping), 65536);
	CHECK(all_bytes(mapping, 0, 16384, 'f'));
	CHECK(all_bytes(mapping, 20480, 65536 - 20480, 'f'));
	EQ(gauge_of(mapping, DAX_GAUGE_ALLOCATED_BYTES), 65536);
	/* What it got to behind the end is not there when the file grows. */
	EQ(dax_mapping_pwrite(mapping, buf, 8192, 69632), -EFAULT);
	EQ(dax_mapping_pwrite(mapping, buf, 8192, 65530), 6);
	EQ(dax_mapping_size(mapping), 65536);
	EQ(gauge_of(mapping, DAX_GAUGE_ALLOCATED_BYTES), 65536);
	EQ(dax_mapping_truncate(mapping, 98304), 0);
	EQ(dax_mapping_pwrite(mapping, "g", 1, 131071), 1);
	CHECK(all_bytes(mapping, 65536, 65535, 0));
	EQ(put(mapping, 3, 'g'), 0);		/* no lock was left behind */
	EQ(dax_mapping_truncate(mapping, 100), 0);
	check_invariants(mapping);
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	dax_mapping_put(mapping);
	dax_device_put(file_dev);
	munmap(buf, 8192);
	close(fd);
}

/* ---- turns ----------------------------------------------------------------------------- */

struct turn {
	struct step step;
	struct dax_mapping *mapping;
	int ret;
};

static void turn_put(void *arg)
{
	struct turn *turn = arg;

	turn->ret = put(turn->mapping, 0, 'n');
}

static void turn_get(void *arg)
{
	struct turn *turn = arg;

	turn->ret = get(turn->mapping, 0);
}

/* A read that comes after a write that waits does not get in before it, or reads
 * that overlap would keep it out for ever. */
static void readers_wait_their_turn(void)
{
	struct dax_mapping *mapping = new_file(dev, 4096);
	struct turn writer = { .mapping = mapping }, reader = { .mapping = mapping };

	EQ(put(mapping, 0, 'o'), 0);
	MUST(!i_rwsem_lock_shared(mapping));
	step_start(&writer.step, turn_put, &writer, STEP_NOWHERE);
	while (!READ_ONCE(mapping->i_rwsem.turn.state))
		sched_yield();
	step_start(&reader.step, turn_get, &reader, STEP_NOWHERE);
	for (int i = 0; i < 2000 && !step_finished(&reader.step); i++)
		sched_yield();
	CHECK(!step_finished(&reader.step));
	i_rwsem_unlock(mapping);
	step_join(&writer.step);
	step_join(&reader.step);
	EQ(writer.ret, 0);
	EQ(reader.ret, 'n');
	EQ(mapping->i_rwsem.writers, 0);
	dax_mapping_put(mapping);
}

/* The bias of i_rwsem does not let a child in. */
static void nobody_reads_in_a_child(void)
{
	struct dax_mapping *mapping = new_file(dev, 4096);
	int status = -1;
	char byte = 'n';
	pid_t child;

	EQ(put(mapping, 0, 'o'), 0);
	CHECK(mapping->i_rwsem.bias > BIAS_READERS);
	child = fork();
	if (!child)
		_exit(dax_mapping_pread(mapping, &byte, 1, 0) != -ESTALE ||
		      dax_mapping_pwrite(mapping, &byte, 1, 0) != -ESTALE);
	MUST(child > 0);
	EQ(waitpid(child, &status, 0), child);
	EQ(status, 0);
	EQ(get(mapping, 0), 'o');
	dax_mapping_put(mapping);
}

/* ---- zero_range ----------------------------------------------------------------------- */

/* Each edge against an array, over blocks, holes and blocks set aside; holes
 * stay holes, mappings see the zeroes, dirty entries stay dirty. */
static void zero_cells(void)
{
	const dax_loff_t edges[] = { 0, 1, 4095, 4096, 4097, 8192, 12288, 16384,
				     20000, 24576, 28672, 32767 };
	static char model[32768], bytes[32768];

	for (int dirty = 0; dirty < 2; dirty++)
	for (size_t i = 0; i < 11; i++)
	for (size_t j = i + 1; j < 12; j++) {
		struct dax_mapping *mapping = new_file(dev, 32768);
		struct dax_vma *vma = map_shared(mapping, 32768);
		uint64_t allocated, tagged;

		memset(model, 0, sizeof(model));
		EQ(fill(mapping, 0, 12288, 'a'), 12288);	/* a hole, then */
		EQ(fill(mapping, 24576, 8192, 'b'), 8192);
		EQ(dax_mapping_fallocate(mapping, 16384, 4096), 0);
		memset(model, 'a', 12288);
		memset(model + 24576, 'b', 8192);
		for (uint64_t page = 0; page < 8; page++)
			CHECK(load(vma, page * 4096) >= 0);
		if (dirty) {
			EQ(store(vma, 4096, 'd'), 0);
			model[4096] = 'd';
		}
		tagged = nr_dirty(mapping);
		allocated = gauge_of(mapping, DAX_GAUGE_ALLOCATED_BYTES);
		EQ(dax_mapping_zero_range(mapping, edges[i],
					  (uint64_t)(edges[j] - edges[i])), 0);
		memset(model + edges[i], 0, (size_t)(edges[j] - edges[i]));
		EQ(dax_mapping_pread(mapping, bytes, 32768, 0), 32768);
		CHECK(!memcmp(bytes, model, 32768));
		EQ(dax_vma_read(vma, bytes, 32768, 0, NULL), 32768);
		CHECK(!memcmp(bytes, model, 32768));
		EQ(gauge_of(mapping, DAX_GAUGE_ALLOCATED_BYTES), allocated);
		EQ(nr_dirty(mapping), tagged);
		check_invariants(mapping);
		dax_vma_put(vma);
		dax_mapping_put(mapping);
	}
}

static void zero_ends(void)
{
	struct dax_mapping *mapping = new_file(dev, 10000);
	struct dax_vma *vma = map_shared(mapping, 12288);

	EQ(fill(mapping, 0, 10000, 'z'), 10000);
	EQ(dax_mapping_zero_range(mapping, -1, 1), -EINVAL);
	EQ(dax_mapping_zero_range(mapping, 0, 0), -EINVAL);
	EQ(dax_mapping_zero_range(mapping, max_size, 1), -EFBIG);
	EQ(dax_mapping_zero_range(mapping, INT64_MAX, 1), -EFBIG);
	EQ(dax_mapping_zero_range(mapping, 1, UINT64_MAX), -EFBIG);
	EQ(dax_mapping_zero_range(mapping, 1, (uint64_t)max_size), -EFBIG);
	CHECK(all_bytes(mapping, 0, 10000, 'z'));
	EQ(dax_mapping_zero_range(mapping, 20000, 5), 0);	/* past the end */
	EQ(dax_mapping_zero_range(mapping, 9999, (uint64_t)max_size - 9999), 0);
	EQ(dax_mapping_size(mapping), 10000);
	EQ(load(vma, 9998), 'z');
	EQ(load(vma, 9999), 0);
	CHECK(all_bytes(mapping, 0, 9999, 'z'));
	EQ(dax_mapping_zero_range(mapping, 0, (uint64_t)max_size), 0);
	CHECK(all_bytes(mapping, 0, 10000, 0));
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	mapping = new_file(dev, max_size);
	EQ(dax_mapping_zero_range(mapping, max_size - 5, 5), 0);
	EQ(put(mapping, max_size - 1, 'e'), 0);
	EQ(dax_mapping_zero_range(mapping, max_size - 5, 5), 0);
	EQ(get(mapping, max_size - 1), 0);
	EQ(dax_mapping_writeback(mapping, max_size - 4096, UINT64_MAX), 0);
	dax_mapping_put(mapping);
}

/* A device that takes no store says so, also where there is nothing to do. */
static void zero_refused(void)
{
	struct dax_device *own = new_device(1 << 20);
	struct dax_mapping *mapping = new_file(own, 10000);

	own->readonly = true;
	EQ(dax_mapping_zero_range(mapping, 0, 4096), -EROFS);
	own->readonly = false;
	EQ(dax_mapping_zero_range(mapping, 0, 4096), 0);
	EQ(dax_device_kill(own), 0);
	EQ(dax_mapping_zero_range(mapping, 0, 4096), -ENXIO);
	dax_mapping_put(mapping);
	dax_device_put(own);
}

static void partial_growth(void)
{
	struct mock mock = { .answer = chopped, .fail_at = 4 };
	struct dax_mapping *mapping = mock_file(&mock, dev, 4096);
	char buf[1000] = { 0 };

	/* Begins: three of a hundred bytes, the fourth fails. */
	EQ(dax_mapping_pwrite(mapping, buf, 1000, 5000), 300);
	EQ(dax_mapping_size(mapping), 5300);
	mock.begins = 3;
	EQ(dax_mapping_pwrite(mapping, buf, 1000, 8192), -ENOTSUP);
	EQ(dax_mapping_size(mapping), 5300);
	CHECK(mock_is_paired(&mock));
	dax_mapping_put(mapping);
}

/* What iomap_end() says is 0 or an error, never a number of bytes. */
static void end_that_lies(void)
{
	struct mock mock = { .end_ret = 1000000 };
	struct dax_mapping *mapping = mock_file(&mock, dev, 8192);
	char buf[100] = { 0 };

	CHECK(dax_mapping_pread(mapping, buf, 100, 0) <= 100);
	CHECK(dax_mapping_pwrite(mapping, buf, 100, 0) <= 100);
	CHECK(dax_mapping_pwrite(mapping, buf, 100, 8100) <= 100);
	CHECK(dax_mapping_size(mapping) <= 8200);
	CHECK(mock_is_paired(&mock));
	mock.end_ret = -ENOTSUP;
	CHECK(dax_mapping_pread(mapping, buf, 100, 0) <= 100);
	CHECK(dax_mapping_pwrite(mapping, buf, 100, 0) <= 100);
	CHECK(mock_is_paired(&mock));
	dax_mapping_put(mapping);
}

/* B28 and worse: each answer is refused by each call, and nothing hangs. */
static const struct nonsense {
	const char *name;
	int ret;
	struct dax_iomap iomap;	/* dax_dev: NULL, or (void *)1 for the device */
	bool reads;	/* fine for a read: only a block is wrong with it */
} nonsense[] = {
	{ "no length", 0, { .type = DAX_IOMAP_MAPPED, .length = 0, .dax_dev = (void *)1 }, false },
	{ "negative length", 0, { .type = DAX_IOMAP_MAPPED, .length = UINT64_MAX, .dax_dev = (void *)1 }, false },
	{ "length 2^63", 0, { .type = DAX_IOMAP_HOLE, .length = UINT64_C(1) << 63, .dax_dev = (void *)1 }, false },
	{ "begins later", 0, { .type = DAX_IOMAP_MAPPED, .offset = 1 << 30, .length = 8192, .dax_dev = (void *)1 }, false },
	{ "ends before", 0, { .type = DAX_IOMAP_HOLE, .offset = -8192, .length = 8192, .dax_dev = (void *)1 }, false },
	{ "unknown type", 0, { .type = 77, .length = 1 << 30, .dax_dev = (void *)1 }, false },
	{ "type 1", 0, { .type = 1, .length = 1 << 30, .dax_dev = (void *)1 }, false },
	{ "no device", 0, { .type = DAX_IOMAP_MAPPED, .length = 1 << 30 }, false },
	{ "behind the device", 0, { .type = DAX_IOMAP_MAPPED, .length = 1 << 30, .addr = UINT64_C(1) << 40, .dax_dev = (void *)1 }, false },
	{ "address 2^64-1", 0, { .type = DAX_IOMAP_MAPPED, .length = 1 << 30, .addr = UINT64_MAX, .dax_dev = (void *)1 }, false },
	{ "positive return", 5, { .type = DAX_IOMAP_HOLE, .length = 1 << 30, .dax_dev = (void *)1 }, false },
	{ "an error", -ENOTSUP, { .type = DAX_IOMAP_HOLE, .length = 1 << 30, .dax_dev = (void *)1 }, false },
	{ "a hole for ever", 0, { .type = DAX_IOMAP_HOLE, .length = 1 << 30, .dax_dev = (void *)1 }, true },
};

static void one_nonsense(const struct nonsense *bad, unsigned int pages)
{
	struct mock mock = { .answer = mock_fixed, .fixed = bad->iomap, .ret = bad->ret };
	struct dax_mapping *mapping = mock_file(&mock, dev, 2 * PMD + 100);
	struct dax_vma *vma = map_pages(mapping, 2 * PMD, RW | DAX_VM_SHARED, pages);
	struct dax_vma *copy = map_pages(mapping, 2 * PMD, RW, pages);
	bool error = !bad->reads, map_ok = bad->reads;
	char buf[100];
	int bad_before = tap_bad;

	if (bad->iomap.dax_dev)
		mock.fixed.dax_dev = dev;
	EQ(dax_mapping_pread(mapping, buf, 100, 0) < 0, error);
	CHECK(dax_mapping_pwrite(mapping, buf, 100, 0) < 0);
	CHECK(dax_mapping_pwrite(mapping, buf, 100, 3 * PMD) < 0);
	EQ(dax_vma_fault_range(vma, 0, 1, 0, NULL, 0, NULL) < 0, error);
	CHECK(dax_vma_fault_range(vma, 1, 1, 1, NULL, 0, NULL) < 0);
	if (pages != DAX_PAGES_PMD)	/* a copy is never 2 MiB */
		EQ(dax_vma_fault_range(copy, 2, 1, 1, NULL, 0, NULL) < 0, error);
	EQ(dax_mapping_size(mapping), 2 * PMD + 100);
	CHECK(mock_is_paired(&mock));
	check_tree_and_leaves(mapping);
	if (map_ok)
		check_block_map(mapping);
	if (tap_bad != bad_before)
		printf("# with \"%s\"\n", bad->name);
	dax_vma_put(copy);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

static void nonsense_answers(void)
{
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++)
		for (unsigned int pages = DAX_PAGES_AUTO; pages <= DAX_PAGES_PMD; pages++)
			one_nonsense(&nonsense[i], pages);
}

static void nonsense_in_extents(void)
{
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		struct mock mock = { .answer = mock_fixed, .ret = nonsense[i].ret };
		struct dax_mapping *mapping = mock_file(&mock, dev, 100000);
		struct dax_extent row[4];
		dax_loff_t pos = 0;
		uint64_t addr = nonsense[i].iomap.addr;
		/* extents asks no device, but a place that wraps is none */
		bool placed = addr && addr + nonsense[i].iomap.length > addr;

		mock.fixed = nonsense[i].iomap;
		if (mock.fixed.dax_dev)
			mock.fixed.dax_dev = dev;
		EQ(dax_mapping_extents(mapping, &pos, row, 4) < 0,
		   !nonsense[i].reads && !placed);
		CHECK(mock_is_paired(&mock));
		if (!mock_is_paired(&mock))
			printf("# with \"%s\"\n", nonsense[i].name);
		dax_mapping_put(mapping);
	}
}

/* ---- extents ---------------------------------------------------------------------------- */

static void extents_in_parts(void)
{
	struct dax_mapping *mapping = new_file(dev, 10 * PAGE + 5);
	struct dax_extent row[3];
	dax_loff_t pos = 0;

	EQ(fill(mapping, 2 * PAGE, PAGE, 1), PAGE);
	EQ(fill(mapping, 6 * PAGE, 2 * PAGE, 1), 2 * PAGE);
	EQ(dax_mapping_extents(mapping, &pos, row, 3), 3);
	EQ(pos, 6 * PAGE);
	EQ(row[1].offset, 2 * PAGE);
	EQ(dax_mapping_extents(mapping, &pos, row, 3), 2);
	EQ(row[0].offset, 6 * PAGE);
	EQ(row[1].type, DAX_IOMAP_HOLE);
	EQ(row[1].length, 2 * PAGE + 5);
	EQ(pos, 10 * PAGE + 5);
	EQ(dax_mapping_extents(mapping, &pos, row, 3), 0);
	pos = 6 * PAGE + 100;	/* from inside */
	EQ(dax_mapping_extents(mapping, &pos, row, 1), 1);
	EQ(row[0].offset, 6 * PAGE + 100);
	EQ(row[0].length, 2 * PAGE - 100);
	pos = -1;
	EQ(dax_mapping_extents(mapping, &pos, row, 3), -EINVAL);
	pos = INT64_MAX;
	EQ(dax_mapping_extents(mapping, &pos, row, 3), 0);
	dax_mapping_put(mapping);
}

/* ---- a block map that calls its own file ------------------------------------------------- */

static void call_back(struct mock *mock)
{
	struct dax_mapping *mapping = mock->mapping;
	struct dax_vma_attr attr = { .struct_size = sizeof(attr), .length = 4096,
				     .flags = DAX_VM_READ };
	struct dax_vma *vma = NULL;
	dax_pgoff_t index = 0;
	dax_loff_t pos = 0;
	struct dax_entry_info entry;
	struct dax_extent extent;
	char byte = 0;
	int *r = mock->result;

	mock->inside = NULL;	/* once */
	*r++ = (int)dax_mapping_pread(mapping, &byte, 1, 0);
	*r++ = (int)dax_mapping_pwrite(mapping, &byte, 1, 0);
	*r++ = dax_mapping_truncate(mapping, 5);
	*r++ = dax_mapping_fallocate(mapping, 0, 1);
	*r++ = dax_mapping_punch_hole(mapping, 0, 1);
	*r++ = (int)dax_mapping_extents(mapping, &pos, &extent, 1);
	*r++ = dax_vma_fault(mock->vma, 0, 0, NULL);
	*r++ = (int)dax_vma_read(mock->vma, &byte, 1, 0, NULL);
	*r++ = (int)dax_vma_write(mock->vma, &byte, 1, 0, NULL);
	*r++ = dax_vma_dontneed(mock->vma, 0, 4096);
	*r++ = dax_vma_new(&vma, mapping, &attr);
	*r++ = (int)dax_mapping_entries(mapping, &index, &entry, 1);
}

static void from_pread(struct mock *mock)
{
	EQ(get(mock->mapping, 0), 0);
}

static void from_pwrite(struct mock *mock)
{
	EQ(put(mock->mapping, 0, 0), 0);
}

static void from_extents(struct mock *mock)
{
	struct dax_extent row;
	dax_loff_t pos = 0;

	EQ(dax_mapping_extents(mock->mapping, &pos, &row, 1), 1);
}

static void from_fault(struct mock *mock)
{
	EQ(load(mock->vma, 3 * DAX_PAGE_SIZE), 0);
}

static void from_truncate(struct mock *mock)
{
	EQ(dax_mapping_truncate(mock->mapping, 9 * PAGE), 0);
}

static void from_punch(struct mock *mock)
{
	EQ(dax_mapping_punch_hole(mock->mapping, 0, DAX_PAGE_SIZE), 0);
}

static void from_fallocate(struct mock *mock)
{
	EQ(dax_mapping_fallocate(mock->mapping, 0, DAX_PAGE_SIZE), 0);
}

/* Each call of the public interface from inside @call: -EDEADLK. */
static void refuses_call_backs(void (*call)(struct mock *))
{
	static const char *const names[] = {
		"pread", "pwrite", "truncate", "fallocate", "punch", "extents",
		"fault", "read", "write", "dontneed", "mmap", "entries",
	};
	struct dax_device *own = new_device(4 * MIB);
	struct mock mock = { .answer = NULL };
	struct dax_mapping *mapping = mock_file(&mock, own, 10 * PAGE);

	mock.vma = map_shared(mapping, 10 * PAGE);
	mock.inside = call_back;
	call(&mock);
	CHECK(!mock.inside);
	for (int i = 0; i < 12; i++) {
		CHECK(mock.result[i] == -EDEADLK);
		if (mock.result[i] != -EDEADLK)
			printf("# %s: %d\n", names[i], mock.result[i]);
	}
	CHECK(mock_is_paired(&mock));
	mock.inside = NULL;
	EQ(get(mapping, 0), 0);		/* and the file still works */
	dax_vma_put(mock.vma);
	dax_mapping_put(mapping);
	dax_device_put(own);
}

static void call_backs_from_faults(void)
{
	refuses_call_backs(from_fault);
}

static void call_backs_from_exclusive(void)
{
	refuses_call_backs(from_truncate);
	refuses_call_backs(from_punch);
	refuses_call_backs(from_fallocate);
}

static void call_backs_from_rw(void)
{
	refuses_call_backs(from_pread);
	refuses_call_backs(from_pwrite);
	refuses_call_backs(from_extents);
}

static void kill_inside(struct mock *mock)
{
	mock->inside = NULL;
	mock->result[0] = dax_device_kill(dax_mapping_device(mock->mapping));
}

/* Refused, and the device is not dead for it. */
static void kill_from_block_map(void)
{
	void (*const calls[])(struct mock *) = { from_pread, from_fault, from_truncate };

	for (int i = 0; i < 3; i++) {
		struct dax_device *own = new_device(4 * MIB);
		struct mock mock = { .inside = kill_inside };
		struct dax_mapping *mapping = mock_file(&mock, own, 10 * PAGE);

		mock.vma = map_shared(mapping, 10 * PAGE);
		calls[i](&mock);
		EQ(mock.result[0], -EDEADLK);
		EQ(dax_device_alive(own), 1);
		dax_vma_put(mock.vma);
		dax_mapping_put(mapping);
		dax_device_put(own);
	}
}

/* ---- the run of a thread ------------------------------------------------------------ */

enum { RUN_PAGES = 64, RUN_AT = 20 };

static const struct rw_run *my_run(struct dax_mapping *mapping)
{
	return &percpu_find_area(&mapping->percpu)->run;
}

/* A file of 'a', of which the thread has read or written 20 pages, one by one. */
static struct dax_mapping *file_with_run(struct dax_device *own, bool write)
{
	struct dax_mapping *mapping = new_file(own, 0);
	char page[DAX_PAGE_SIZE];

	fill(mapping, 0, RUN_PAGES * PAGE, 'a');
	memset(page, 'a', sizeof(page));
	for (dax_loff_t at = 0; at < RUN_AT * PAGE; at += PAGE)
		EQ(write ? dax_mapping_pwrite(mapping, page, PAGE, at)
			 : dax_mapping_pread(mapping, page, PAGE, at), PAGE);
	CHECK(my_run(mapping)->start <= RUN_AT * PAGE);
	CHECK(my_run(mapping)->start + (dax_loff_t)my_run(mapping)->length >=
	      (RUN_AT + 2) * PAGE);
	return mapping;
}

/* Another file has all blocks that are free. */
static struct dax_mapping *take_the_rest(struct dax_device *own)
{
	struct dax_mapping *mapping = new_file(own, 0);
	dax_loff_t at = 0;

	while (dax_mapping_pwrite(mapping, "bbbb", 4, at) == 4)
		at += PAGE;
	CHECK(at > 0);
	return mapping;
}

static void punches(struct dax_mapping *mapping)
{
	EQ(dax_mapping_punch_hole(mapping, RUN_AT * PAGE, 8 * PAGE), 0);
}

static void cuts_off(struct dax_mapping *mapping)
{
	EQ(dax_mapping_truncate(mapping, RUN_AT * PAGE), 0);
	EQ(dax_mapping_truncate(mapping, RUN_PAGES * PAGE), 0);
}

/* The blocks that the run names are another file's. */
static void blocks_go(void (*take)(struct dax_mapping *), bool write)
{
	struct dax_device *own = new_device(4 * MIB);
	struct dax_mapping *mapping = file_with_run(own, write), *other;
	char byte = 'x';

	take(mapping);
	other = take_the_rest(own);
	EQ(dax_mapping_pwrite(mapping, "x", 1, RUN_AT * PAGE), -ENOSPC);
	EQ(dax_mapping_pread(mapping, &byte, 1, RUN_AT * PAGE), 1);
	EQ(byte, 0);
	for (dax_loff_t at = 0; at < dax_mapping_size(other); at += PAGE)
		CHECK(all_bytes(other, at, 4, 'b'));
	check_invariants(mapping);
	dax_mapping_put(other);
	dax_mapping_put(mapping);
	dax_device_put(own);
}

static void runs_end_with_their_blocks(void)
{
	for (int write = 0; write < 2; write++) {
		blocks_go(punches, write);
		blocks_go(cuts_off, write);
	}
}

static void runs_end_with_the_device(void)
{
	for (int write = 0; write < 2; write++) {
		struct dax_device *own = new_device(4 * MIB);
		struct dax_mapping *mapping = file_with_run(own, write);
		char byte;

		EQ(dax_device_kill(own), 0);
		EQ(dax_mapping_pread(mapping, &byte, 1, RUN_AT * PAGE), -ENXIO);
		EQ(dax_mapping_pwrite(mapping, "x", 1, RUN_AT * PAGE), -ENXIO);
		dax_mapping_put(mapping);
		dax_device_put(own);
	}
}

static void runs_end_with_a_clone(void)
{
	struct dax_device *own = new_device(4 * MIB);
	struct dax_mapping *mapping = file_with_run(own, true);
	struct dax_mapping *clone = new_file(own, 0);

	EQ(dax_mapping_clone_range(clone, 0, mapping, 0, RUN_PAGES * PAGE), 0);
	EQ(dax_mapping_pwrite(mapping, "x", 1, RUN_AT * PAGE), 1);
	CHECK(all_bytes(clone, 0, RUN_PAGES * PAGE, 'a'));
	EQ(my_run(mapping)->length * (my_run(mapping)->layout_seq ==
				      mapping->layout_seq), 0);
	dax_mapping_put(clone);
	dax_mapping_put(mapping);
	dax_device_put(own);
}

/* A run is of one extent, ends where the file ends, and shows what is written. */
static void runs_are_of_one_extent(void)
{
	struct dax_device *own = new_device(4 * MIB);
	struct dax_mapping *mapping = file_with_run(own, false);
	struct dax_vma *vma = map_shared(mapping, RUN_PAGES * PAGE);
	char page[2 * DAX_PAGE_SIZE];

	EQ(load(vma, RUN_AT * PAGE), 'a');
	EQ(dax_mapping_pwrite(mapping, "x", 1, RUN_AT * PAGE), 1);
	EQ(load(vma, RUN_AT * PAGE), 'x');
	EQ(dax_mapping_punch_hole(mapping, (RUN_AT + 4) * PAGE, PAGE), 0);
	for (dax_loff_t at = 0; at < RUN_PAGES * PAGE; at += PAGE) {
		EQ(dax_mapping_pread(mapping, page, PAGE, at), PAGE);
		EQ(page[1], at == (RUN_AT + 4) * PAGE ? 0 : 'a');
	}
	EQ(dax_mapping_pread(mapping, page, 2 * PAGE, (RUN_PAGES - 1) * PAGE), PAGE);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dax_device_put(own);
}

/* A block map of somebody's is asked every time. */
static void others_keep_nothing(void)
{
	struct mock mock = { .answer = NULL };
	struct dax_mapping *mapping = mock_file(&mock, dev, RUN_PAGES * PAGE);
	char byte;

	for (unsigned int i = 0; i < RUN_PAGES; i++) {
		EQ(dax_mapping_pread(mapping, &byte, 1, i * PAGE), 1);
		EQ(mock.begins, i + 1);
		EQ(my_run(mapping)->length, 0);
	}
	dax_mapping_put(mapping);
}

int main(void)
{
	tmpdir_make();
	plan(30);
	dev = new_device(16 * MIB);
	run("ends of the file, negative positions, huge lengths", ends_of_file);
	run("bytes across pages and extents", bytes);
	run("B27: positions near 2^63", far_end);
	run("B11: what is written reaches every mapping", writes_reach_mappings);
	run("a block that was there keeps its entry", writing_nothing_new_keeps_entries);
	run("extents of a hundred bytes", short_extents);
	run("a hole under a write is -EIO", holes_under_writes);
	run("an error half way", errors_half_way);
	run("each error after some bytes", errors_after_some_bytes);
	run("a buffer that cannot be touched", buffer_cannot_be_touched);
	run("a read after a write that waits", readers_wait_their_turn);
	run("nobody reads in a child", nobody_reads_in_a_child);
	run("a run of pieces ends with its blocks", runs_end_with_their_blocks);
	run("a run of pieces ends with the device", runs_end_with_the_device);
	run("a run of pieces ends with a clone", runs_end_with_a_clone);
	run("a run of pieces is of one extent", runs_are_of_one_extent);
	run("a block map of somebody's is asked each time", others_keep_nothing);
	run("zero_range: every edge", zero_cells);
	run("zero_range: ends and values refused", zero_ends);
	run("zero_range: a device that takes no store", zero_refused);
	run("a file grows by what was written", partial_growth);
	run("iomap_end returns no bytes", end_that_lies);
	run("B28: nonsense is refused by reads, writes and faults", nonsense_answers);
	run("nonsense is refused by extents", nonsense_in_extents);
	run("extents, a few at a time", extents_in_parts);
	run("call-backs from a fault are refused", call_backs_from_faults);
	run("call-backs from truncate, punch, fallocate are refused", call_backs_from_exclusive);
	run("call-backs from pread, pwrite, extents are refused", call_backs_from_rw);
	run("kill from a block map kills nothing", kill_from_block_map);
	run("bytes again, after all that", bytes);
	dax_device_put(dev);
	return done();
}
