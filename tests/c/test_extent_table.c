/* SPDX-License-Identifier: BSD-3-Clause */
/* test_extent_table.c -- tables of extents: what is refused, asked, replaced */
#include <pthread.h>

#include "extent_table.h"
#include "fixture.h"
#include "iomap.h"
#include "oom.h"
#include "step.h"

enum { FILE_PAGES = 1536, DEV_PAGES = 2048 };

static struct dax_extent hole(int64_t page, int64_t nr)
{
	return (struct dax_extent){ .offset = page * PAGE,
				    .length = (uint64_t)(nr * PAGE) };
}

static struct dax_extent data(int64_t page, int64_t nr, int64_t block)
{
	return (struct dax_extent){
		.offset = page * PAGE, .length = (uint64_t)(nr * PAGE),
		.device_offset = (uint64_t)(block * PAGE), .type = DAX_IOMAP_MAPPED,
	};
}

static struct dax_mapping *table_file(struct dax_device *dev, dax_loff_t size,
				      const struct dax_extent *rows, size_t nr)
{
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr), .size = size };
	struct dax_mapping *mapping = NULL;

	MUST(!dax_mapping_new_extents(&mapping, dev, &attr, rows, nr));
	return mapping;
}

/* ---- what is refused ---------------------------------------------------------- */

/* The second of three rows is @row. */
static void refused(struct dax_extent row, const char *part)
{
	struct dax_extent rows[] = { data(0, 4, 0), row, hole(8, 4) };

	EQ(dax_check_extents(rows, 3, 12 * PAGE, (uint64_t)(64 * PAGE)), -EINVAL);
	CHECK(errormsg_has(part));
	CHECK(errormsg_has("row"));
}

static void test_rows_that_are_no_table(void)
{
	struct dax_extent row = data(4, 4, 8);

	row.offset = -4096;
	refused(row, "row 1: offset -4096 is negative");
	row = data(4, 4, 8);
	row.length = (uint64_t)-4096;
	refused(row, "row 1: length -4096 is not above 0");
	row.length = 0;
	refused(row, "row 1: length 0 is not above 0");
	row.length = 4097;
	refused(row, "length 4097 must be multiples of 4096");
	row = data(4, 4, 8);
	row.offset++;
	refused(row, "row 1: offset 16385");
	row = data(4, 4, 8);
	row.device_offset += 512;
	refused(row, "row 1: device offset 33280 must be a multiple");
	row.device_offset = (uint64_t)-4096;
	refused(row, "row 1: device offset -4096 is negative");
	refused(data(4, 4, 61), "row 1: device offset 249856 + length 16384 is beyond the "
		"device of 262144");
	row = data(4, 4, 8);
	row.type = DAX_IOMAP_UNWRITTEN;
	refused(row, "row 1: type 3");
	row.type = DAX_IOMAP_MAPPED;
	row.flags = DAX_IOMAP_F_SHARED;
	refused(row, "row 1: flags 4");
	row = hole(4, 4);
	row.length = (uint64_t)INT64_MAX & ~(uint64_t)4095;
	refused(row, "beyond 2^63-4096");
}

static void test_rows_that_do_not_cover(void)
{
	refused(data(3, 5, 8), "row 1: offset 12288 overlaps the row before, which ends "
		"at byte 16384");
	refused(data(5, 3, 8), "row 1: offset 20480, but bytes from 16384 on");
	refused(data(4, 3, 8), "row 2: offset 32768, but bytes from 28672 on");
	refused(data(4, 5, 8), "row 2: offset 32768 overlaps");
	refused(data(4, 4, 3), "rows 0 and 1 overlap on the device: bytes from 12288 on");
	refused(data(4, 4, 0), "rows 0 and 1 overlap on the device: bytes from 0 on");
}

static void test_the_whole_file_is_covered(void)
{
	struct dax_extent rows[] = { hole(1, 1), data(0, 2, 0) };

	EQ(dax_check_extents(rows, 1, PAGE, UINT64_MAX), -EINVAL);
	CHECK(errormsg_has("row 0: offset 4096, but bytes from 0 on"));
	EQ(dax_check_extents(rows + 1, 1, 2 * PAGE + 1, UINT64_MAX), -EINVAL);
	CHECK(errormsg_has("row 0, the last one, ends at byte 8192: the file has 8193"));
	EQ(dax_check_extents(rows + 1, 1, 2 * PAGE - 1, UINT64_MAX), 0);
	EQ(dax_check_extents(NULL, 0, 1, UINT64_MAX), -EINVAL);
	EQ(dax_check_extents(NULL, 0, 0, 0), 0);
}

static void test_calls_that_are_refused(void)
{
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr), .size = PAGE,
					 .ops = &extent_table_ops };
	struct dax_device *dev = new_device((uint64_t)(64 * PAGE));
	struct dax_extent row = data(0, 1, 64);
	struct dax_mapping *mapping = NULL, *other = new_file(dev, PAGE);

	EQ(dax_mapping_new_extents(&mapping, dev, &attr, &row, 0), -EINVAL);
	attr.ops = NULL;
	EQ(dax_mapping_new_extents(&mapping, dev, &attr, &row, 1), -EINVAL);
	CHECK(errormsg_has("row 0: device offset 262144"));
	row.device_offset = 0;
	attr.policy = 7;
	EQ(dax_mapping_new_extents(&mapping, dev, &attr, &row, 1), -EINVAL);
	attr.policy = 0;
	attr.struct_size = 1;
	EQ(dax_mapping_new_extents(&mapping, dev, &attr, &row, 1), -EINVAL);
	CHECK(!mapping);
	EQ(dax_mapping_replace_extents(other, &row, 1), -EINVAL);
	CHECK(errormsg_has("no table"));
	mapping = table_file(dev, PAGE, &row, 1);
	EQ(dax_mapping_truncate(mapping, 0), -EOPNOTSUPP);
	EQ(dax_mapping_fallocate(mapping, 0, 1), -EOPNOTSUPP);
	EQ(dax_mapping_punch_hole(mapping, 0, (uint64_t)PAGE), -EOPNOTSUPP);
	dax_mapping_put(mapping);
	dax_mapping_put(other);
	dax_device_put(dev);
}

/* ---- asking --------------------------------------------------------------------- */

/* Rows at random, many or few in a bucket, against a look at each. */
static void ask_everywhere(uint64_t seed, size_t nr, int64_t longest)
{
	struct dax_extent *rows = calloc(nr, sizeof(*rows));
	struct dax_device *dev = new_device((uint64_t)(DEV_PAGES * PAGE));
	int64_t page = 0, block = 0;
	struct dax_mapping *mapping;

	MUST(rows);
	for (size_t i = 0; i < nr; i++) {
		int64_t n = 1 + (int64_t)(next_random(&seed) % (uint64_t)(i == 0 ? longest : 8));
		bool mapped = next_random(&seed) % 2 && block + n + 1 < DEV_PAGES;

		rows[i] = mapped ? data(page, n, block) : hole(page, n);
		block += mapped ? n + (int64_t)(next_random(&seed) % 2) : 0;
		page += n;
	}
	mapping = table_file(dev, page * PAGE, rows, nr);
	for (size_t i = 0; i < nr; i++) {
		dax_loff_t last = rows[i].offset + (dax_loff_t)rows[i].length - 1;

		for (dax_loff_t pos = rows[i].offset; pos <= last; pos += last - rows[i].offset) {
			struct dax_iomap iomap;

			MUST(!iomap_begin(mapping, pos, 1, 0, &iomap));
			EQ(iomap.type, rows[i].type);
			CHECK(iomap.offset <= rows[i].offset &&
			      iomap.offset + (dax_loff_t)iomap.length > last);
			if (iomap.type == DAX_IOMAP_MAPPED)
				EQ(iomap_addr(&iomap, pos), rows[i].device_offset +
				   (uint64_t)(pos - rows[i].offset));
		}
	}
	dax_mapping_put(mapping);
	dax_device_put(dev);
	free(rows);
}

static void test_every_byte_is_found(void)
{
	ask_everywhere(1, 1, 1);
	ask_everywhere(2, 2, 1);
	ask_everywhere(3, 300, 1);
	ask_everywhere(4, 300, 1 << 20);	/* all but one in a bucket */
	ask_everywhere(5, 299, INT64_C(1) << 40);
}

static void test_what_lies_together_is_mapped_at_once(void)
{
	struct dax_extent rows[] = { data(0, 100, 512), data(100, 412, 612),
				     hole(512, 1), hole(513, 511) };
	struct dax_device *dev = new_device((uint64_t)(DEV_PAGES * PAGE));
	struct dax_mapping *mapping = table_file(dev, 2 * PMD, rows, 4);
	struct dax_vma *vma = map_shared(mapping, (uint64_t)(2 * PMD));

	EQ(store(vma, 5, 1), 0);
	EQ(load(vma, (uint64_t)PMD), 0);
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 2);
	EQ(nr_dirty(mapping), 1);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

static void test_a_hole_takes_no_store(void)
{
	struct dax_extent rows[] = { data(0, 1, 7), hole(1, 1100), data(1101, 1, 8) };
	struct dax_device *dev = new_device((uint64_t)(DEV_PAGES * PAGE));
	struct dax_mapping *mapping = table_file(dev, 1100 * PAGE, rows, 3);
	struct dax_vma *vma = map_shared(mapping, (uint64_t)(1200 * PAGE));
	struct dax_fault_info info = { 0 };
	char byte = 1;

	EQ(dax_vma_write(vma, &byte, 1, (uint64_t)PMD, &info), -ENOSPC);
	CHECK(errormsg_has("byte 2097152 is in a hole"));
	EQ(info.error, -ENOSPC);
	EQ(load(vma, (uint64_t)PMD), 0);
	EQ(dax_vma_write(vma, &byte, 1, (uint64_t)PMD, NULL), -ENOSPC);
	EQ(load(vma, (uint64_t)PMD), 0);
	EQ(dax_mapping_pwrite(mapping, "abcd", 4, PAGE - 2), 2);
	EQ(dax_mapping_pwrite(mapping, "abcd", 4, 1099 * PAGE), -ENOSPC);
	EQ(dax_mapping_zero_range(mapping, 0, (uint64_t)(1100 * PAGE)), 0);
	EQ(get(mapping, PAGE - 2), 0);
	/* Growth goes as far as the rows. */
	EQ(dax_mapping_pwrite(mapping, "z", 1, 1101 * PAGE), 1);
	EQ(dax_mapping_size(mapping), 1101 * PAGE + 1);
	EQ(dax_mapping_pwrite(mapping, "z", 1, 1102 * PAGE), -ENOSPC);
	EQ(dax_mapping_size(mapping), 1101 * PAGE + 1);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

/* ---- replacing ---------------------------------------------------------------------- */

static void test_replace_shows_the_other_table(void)
{
	struct dax_extent old[] = { data(0, 2, 0), hole(2, 2) };
	struct dax_extent new[] = { hole(0, 2), data(2, 1, 0), data(3, 1, 5) };
	struct dax_device *dev = new_device((uint64_t)(DEV_PAGES * PAGE));
	struct dax_mapping *mapping = table_file(dev, 4 * PAGE, old, 2);
	struct dax_vma *vma = map_shared(mapping, (uint64_t)(4 * PAGE));
	struct dax_vma *copy = map_private(mapping, (uint64_t)(4 * PAGE));

	EQ(store(vma, 0, 'a'), 0);
	EQ(store(copy, 1, 'b'), 0);
	EQ(load(vma, (uint64_t)(2 * PAGE)), 0);
	MUST(!dax_device_store(dev, (uint64_t)(5 * PAGE), "n", 1));
	EQ(dax_mapping_replace_extents(mapping, new, 3), 0);
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 0);
	EQ(load(vma, 0), 0);
	EQ(load(copy, 1), 'b');
	EQ(load(vma, (uint64_t)(2 * PAGE)), 'a');
	EQ(load(vma, (uint64_t)(3 * PAGE)), 'n');
	EQ(get(mapping, 2 * PAGE), 'a');
	EQ(dax_mapping_replace_extents(mapping, new, 2), -EINVAL);
	CHECK(errormsg_has("row 1, the last one, ends at byte 12288"));
	new[2].device_offset = 0;
	EQ(dax_mapping_replace_extents(mapping, new, 3), -EINVAL);
	CHECK(errormsg_has("rows 1 and 2") || errormsg_has("rows 2 and 1"));
	EQ(load(vma, (uint64_t)(3 * PAGE)), 'n');
	dax_vma_put(copy);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

/* What was stored to the old blocks is flushed before they are let go. */
static void test_replace_flushes(void)
{
	struct dax_extent old = data(0, 1, 0), new = data(0, 1, 1);
	struct dax_device *dev = NULL;
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	int64_t before;

	MUST(!dax_device_record(&dev, (uint64_t)(64 * PAGE)));
	mapping = table_file(dev, PAGE, &old, 1);
	vma = map_shared(mapping, (uint64_t)PAGE);
	EQ(store(vma, 0, 'a'), 0);
	before = dax_device_log_length(dev);
	EQ(dax_mapping_replace_extents(mapping, &new, 1), 0);
	CHECK(dax_device_log_length(dev) > before);
	EQ(nr_dirty(mapping), 0);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

static void replace(void *arg)
{
	struct dax_extent row = hole(0, 1);

	MUST(!dax_mapping_replace_extents(arg, &row, 1));
}

static void test_replace_waits_for_a_pin(void)
{
	struct dax_extent old = data(0, 1, 0);
	struct dax_device *dev = new_device((uint64_t)(64 * PAGE));
	struct dax_mapping *mapping = table_file(dev, PAGE, &old, 1);
	struct dax_pin pin;
	struct step step;

	dax_test.yield = step_yield;
	EQ(put(mapping, 0, 'p'), 0);
	EQ(dax_pin_pages(mapping, 0, 1, 0, &pin), 1);
	step_start(&step, replace, mapping, DAX_TEST_BEFORE_PIN_WAIT);
	MUST(step_parked(&step));
	EQ(get(mapping, 0), 'p');
	EQ(dax_unpin_pages(&pin, 0), 0);
	step_go(&step, STEP_NOWHERE);
	step_join(&step);
	dax_test.yield = NULL;
	EQ(get(mapping, 0), 0);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

static void test_no_memory(void)
{
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr), .size = 4 * PAGE };
	struct dax_extent old[] = { data(0, 2, 0), hole(2, 2) };
	struct dax_extent new[] = { hole(0, 2), data(2, 2, 0) };
	struct dax_device *dev = new_device((uint64_t)(64 * PAGE));
	struct dax_mapping *mapping = NULL;
	int ret;

	OOM_LOOP(n) {
		oom_fail_nth(n);
		ret = dax_mapping_new_extents(&mapping, dev, &attr, old, 2);
		oom_clear();
		if (!oom_fired())
			break;
		EQ(ret, -ENOMEM);
	}
	CHECK(oom_rounds() > 2);
	MUST(mapping);
	EQ(put(mapping, 0, 'x'), 0);
	OOM_LOOP(n) {
		oom_fail_nth(n);
		ret = dax_mapping_replace_extents(mapping, new, 2);
		oom_clear();
		if (!oom_fired())
			break;
		EQ(ret, -ENOMEM);
		EQ(get(mapping, 0), 'x');
	}
	CHECK(oom_rounds() > 2);
	EQ(ret, 0);
	EQ(get(mapping, 2 * PAGE), 'x');
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

/* ---- replaced beside faults ------------------------------------------------------------ */

enum { ROUNDS = 10000, STRESS_PAGES = 8 };

struct stress {
	struct dax_vma *vma;
	_Atomic bool stop;
	_Atomic unsigned int wrong;
	_Atomic uint64_t loads;
};

/* Each page is 'a' or 'b' as a whole, never the 'x' of blocks that are let go. */
static void *load_pages(void *arg)
{
	struct stress *s = arg;
	char page[DAX_PAGE_SIZE];

	while (!s->stop)
		for (int64_t i = 0; i < STRESS_PAGES; i++) {
			MUST(dax_vma_read(s->vma, page, sizeof(page), (uint64_t)(i * PAGE),
					  NULL) == PAGE);
			s->wrong += (page[0] != 'a' && page[0] != 'b') ||
				    memcmp(page, page + 1, sizeof(page) - 1);
			s->loads++;
		}
	return NULL;
}

static void fill_blocks(struct dax_device *dev, int64_t block, int value)
{
	static char buf[STRESS_PAGES * DAX_PAGE_SIZE];

	memset(buf, value, sizeof(buf));
	MUST(!dax_device_store(dev, (uint64_t)(block * PAGE), buf, sizeof(buf)));
}

static void test_replaced_beside_two_faulting_threads(void)
{
	struct dax_extent rows[2] = { data(0, STRESS_PAGES, 0),
				      data(0, STRESS_PAGES, STRESS_PAGES) };
	struct dax_device *dev = new_device((uint64_t)(64 * PAGE));
	struct dax_mapping *mapping;
	struct stress s = { .stop = false };
	pthread_t threads[2];

	fill_blocks(dev, 0, 'a');
	mapping = table_file(dev, STRESS_PAGES * PAGE, &rows[0], 1);
	s.vma = map_pages(mapping, (uint64_t)(STRESS_PAGES * PAGE), RW | DAX_VM_SHARED,
			  DAX_PAGES_PTE);
	for (int i = 0; i < 2; i++)
		MUST(!pthread_create(&threads[i], NULL, load_pages, &s));
	for (int i = 1; i <= ROUNDS; i++) {
		fill_blocks(dev, (i % 2) * STRESS_PAGES, i % 2 ? 'b' : 'a');
		MUST(!dax_mapping_replace_extents(mapping, &rows[i % 2], 1));
		fill_blocks(dev, (1 - i % 2) * STRESS_PAGES, 'x');
	}
	s.stop = true;
	for (int i = 0; i < 2; i++)
		MUST(!pthread_join(threads[i], NULL));
	EQ(s.wrong, 0);
	CHECK(s.loads > 0);
	dax_vma_put(s.vma);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

int main(void)
{
	plan(12);
	run("rows that are no table", test_rows_that_are_no_table);
	run("rows that do not cover", test_rows_that_do_not_cover);
	run("the whole file is covered", test_the_whole_file_is_covered);
	run("calls that are refused", test_calls_that_are_refused);
	run("every byte is found", test_every_byte_is_found);
	run("what lies together is mapped at once", test_what_lies_together_is_mapped_at_once);
	run("a hole takes no store", test_a_hole_takes_no_store);
	run("replace shows the other table", test_replace_shows_the_other_table);
	run("replace flushes", test_replace_flushes);
	run("replace waits for a pin", test_replace_waits_for_a_pin);
	run("no memory", test_no_memory);
	run("replaced beside two faulting threads", test_replaced_beside_two_faulting_threads);
	return done();
}
