use history::{
    FeatureBatch, FeatureOptions, FeatureScan, HistoryError, Table, TableWriter, write_table,
};

use crate::{Folder, gzip, message};

fn scan_all(scan: &FeatureScan) -> Vec<FeatureBatch> {
    let mut batches = Vec::new();
    scan.for_each_batch(|batch| {
        batches.push(batch);
        Ok::<(), HistoryError>(())
    })
    .unwrap();
    batches
}

fn joined(batches: &[FeatureBatch]) -> FeatureBatch {
    let mut whole = batches.last().unwrap().clone();
    let concat = |of: fn(&FeatureBatch) -> Option<Vec<u32>>| {
        let all: Option<Vec<Vec<u32>>> = batches.iter().map(of).collect();
        all.map(|all| all.concat())
    };
    whole.first_row = batches[0].first_row;
    whole.n_rows = batches.iter().map(|batch| batch.n_rows).sum();
    whole.values = batches
        .iter()
        .flat_map(|batch| batch.values.clone())
        .collect();
    whole.label = concat(|batch| batch.label.clone());
    whole.symbol = concat(|batch| batch.symbol.clone());
    let times: Option<Vec<Vec<i64>>> = batches.iter().map(|batch| batch.time.clone()).collect();
    whole.time = times.map(|times| times.concat());
    whole
}

fn mixed_table() -> Table {
    Table::new()
        .time("when", vec![1_000_000, 2_000_000, 3_000_000, 4_000_000])
        .text("pair", ["A", "B", "A", "C"].into_iter().map(Some))
        .number("x", vec![0.5, -1.5, 2.5, 1e300])
        .integer("n", vec![1, 2, 3, 4])
        .flag("is_up", vec![true, false, true, true])
        .text("note", [Some("a"), None, None, None].into_iter())
        .text(
            "kind",
            [None, Some("pump"), Some(""), Some("dump")].into_iter(),
        )
}

fn options() -> FeatureOptions {
    FeatureOptions {
        label: Some("kind".to_owned()),
        time: Some("when".to_owned()),
        symbol: Some("pair".to_owned()),
        ..FeatureOptions::default()
    }
}

const MIXED_CSV: &str = "\
when,pair,x,n,is_up,note,kind
1970-01-01T00:00:01Z,A,0.5,1,true,a,
1970-01-01T00:00:02Z,B,-1.5,2,false,,pump
1970-01-01T00:00:03Z,A,2.5,3,true,,
1970-01-01T00:00:04Z,C,1e300,4,true,,dump
";

fn mixed_folder() -> Folder {
    let folder = Folder::new();
    write_table(&folder.storage, &folder.uri("mixed.parquet"), mixed_table()).unwrap();
    folder.put("mixed.csv", MIXED_CSV);
    folder.put("mixed2.csv.gz", gzip(MIXED_CSV));
    folder
}

#[test]
fn reads_numeric_columns_labels_times_and_symbols() {
    let folder = mixed_folder();
    for name in ["mixed.parquet", "mixed.csv", "mixed2.csv.gz"] {
        let scan = FeatureScan::open(&folder.objects(name), &options()).unwrap();
        assert_eq!(scan.columns(), ["x", "n", "is_up"], "{name}");
        assert_eq!(scan.n_rows().unwrap(), 4);
        let rows = joined(&scan_all(&scan));
        assert_eq!(rows.n_rows, 4);
        assert_eq!(
            rows.values,
            [
                0.5, 1.0, 1.0, -1.5, 2.0, 0.0, 2.5, 3.0, 1.0, 1e300, 4.0, 1.0
            ]
        );
        assert_eq!(
            rows.time.unwrap(),
            [1_000_000, 2_000_000, 3_000_000, 4_000_000]
        );
        assert_eq!(rows.symbol.unwrap(), [0, 1, 0, 2]);
        assert_eq!(*rows.symbol_names, ["A", "B", "C"]);
        assert_eq!(rows.label.unwrap(), [0, 1, 0, 2]);
        assert_eq!(*rows.label_names, ["", "pump", "dump"]);
    }
}

#[test]
fn keeps_to_columns_range_and_symbols() {
    let folder = mixed_folder();
    for name in ["mixed.parquet", "mixed.csv"] {
        let options = FeatureOptions {
            columns: Some(vec!["n".to_owned(), "x".to_owned()]),
            symbols: vec!["A".to_owned(), "C".to_owned()],
            from: Some(1_000_001),
            to: Some(4_000_000),
            ..options()
        };
        let scan = FeatureScan::open(&folder.objects(name), &options).unwrap();
        assert_eq!(scan.n_rows().unwrap(), 1, "{name}");
        let rows = joined(&scan_all(&scan));
        assert_eq!(rows.values, [3.0, 2.5]);
        assert_eq!(rows.time.unwrap(), [3_000_000]);

        let mut indices = Vec::new();
        scan.for_each_index_batch(|batch| {
            assert!(batch.values.is_empty());
            indices.extend(batch.label.unwrap());
            Ok::<(), HistoryError>(())
        })
        .unwrap();
        assert_eq!(indices, [0]);

        scan.for_each_batch_of(&["x".to_owned()], |batch| {
            assert_eq!(batch.values, [2.5]);
            Ok::<(), HistoryError>(())
        })
        .unwrap();
        let refused = scan.for_each_batch_of(&["is_up".to_owned()], |_| Ok::<(), HistoryError>(()));
        assert!(matches!(refused, Err(HistoryError::MissingColumn { .. })));
    }
}

#[test]
fn rows_that_lack_a_feature_are_left_out_where_that_is_asked_for() {
    let folder = Folder::new();
    let table = Table::new()
        .time("at", vec![1, 2, 3, 4, 5])
        .optional_number("x", vec![None, Some(2.0), Some(3.0), None, Some(5.0)])
        .optional_number("y", vec![Some(1.0), Some(2.0), None, Some(4.0), Some(5.0)]);
    write_table(&folder.storage, &folder.uri("t.parquet"), table).unwrap();
    let text = "at,x,y\n1,,1\n2,2,2\n3,3,\n4, ,4\n5,5,5\n";
    folder.put("t.csv", text);
    for name in ["t.parquet", "t.csv"] {
        let scan = |columns: &[&str], complete| {
            let options = FeatureOptions {
                columns: Some(columns.iter().map(|name| (*name).to_owned()).collect()),
                time: Some("at".to_owned()),
                complete,
                ..FeatureOptions::default()
            };
            FeatureScan::open(&folder.objects(name), &options).unwrap()
        };
        let both = scan(&["x", "y"], true);
        assert_eq!(both.n_rows().unwrap(), 2, "{name}");
        assert_eq!(joined(&scan_all(&both)).values, [2.0, 2.0, 5.0, 5.0]);
        // Also where the features themselves aren't read.
        let mut n_rows = 0;
        both.for_each_index_batch(|batch| {
            n_rows += batch.n_rows;
            Ok::<(), HistoryError>(())
        })
        .unwrap();
        assert_eq!(n_rows, 2, "{name}");
        let mut second = Vec::new();
        both.for_each_batch_of_rows(1..2, |batch| {
            second.extend(batch.values);
            Ok::<(), HistoryError>(())
        })
        .unwrap();
        assert_eq!(second, [5.0, 5.0], "{name}");
        assert_eq!(scan(&["y"], true).n_rows().unwrap(), 4, "{name}");
        // In silence nothing is left out.
        let refused = scan(&["x", "y"], false).for_each_batch(|_| Ok::<(), HistoryError>(()));
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains('x') && refused.contains("row"),
            "{refused}"
        );
    }
}

#[test]
fn reads_files_whatever_their_names() {
    let folder = Folder::new();
    for name in ["a b.parquet", "50%20#x?.parquet", "ünï[1].parquet"] {
        let table = Table::new().number("x", vec![1.0, 2.0]);
        write_table(&folder.storage, &folder.uri(name), table).unwrap();
        let scan = FeatureScan::open(&folder.objects(name), &FeatureOptions::default()).unwrap();
        assert_eq!(joined(&scan_all(&scan)).values, [1.0, 2.0], "{name}");
    }
}

#[test]
fn counts_rows_even_where_no_column_is_read() {
    let folder = Folder::new();
    let table = Table::new().number("x", vec![1.0; 10]);
    write_table(&folder.storage, &folder.uri("t.parquet"), table).unwrap();
    let scan = FeatureScan::open(&folder.objects("t.parquet"), &FeatureOptions::default()).unwrap();
    let mut n_rows = 0;
    scan.for_each_index_batch(|batch| {
        n_rows += batch.n_rows;
        Ok::<(), HistoryError>(())
    })
    .unwrap();
    assert_eq!(n_rows, 10);
}

#[test]
fn checks_the_schema_before_any_work() {
    let folder = mixed_folder();
    folder.put("symbol=A/t.csv", "x\n1\n");
    let open = |name: &str, options: FeatureOptions| {
        let error = FeatureScan::open(&folder.objects(name), &options).unwrap_err();
        message(&error, folder.dir.path())
    };
    let columns = |names: &[&str]| FeatureOptions {
        columns: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..FeatureOptions::default()
    };
    for name in ["mixed.parquet", "mixed.csv"] {
        assert_eq!(
            open(name, columns(&["x", "is_upp"])),
            format!("`{name}` has no column `is_upp`; did you mean `is_up`?")
        );
    }
    assert_eq!(
        open("mixed.parquet", columns(&["note"])),
        "`mixed.parquet` column `note` is str, but a number or a boolean is needed"
    );
    let label = FeatureOptions {
        label: Some("when".to_owned()),
        ..FeatureOptions::default()
    };
    assert!(open("mixed.parquet", label).contains("0 and 1, a boolean or text"));
    let range = FeatureOptions {
        from: Some(0),
        ..FeatureOptions::default()
    };
    assert!(open("mixed.csv", range).contains("no time column"));
    let symbols = FeatureOptions {
        symbols: vec!["A".to_owned()],
        ..FeatureOptions::default()
    };
    assert!(open("mixed.csv", symbols.clone()).contains("neither a symbol column"));
    let scan = FeatureScan::open(&folder.objects("symbol=A/t.csv"), &symbols).unwrap();
    assert_eq!(*joined(&scan_all(&scan)).symbol_names, ["A"]);
}

#[test]
fn refuses_what_is_not_finite_by_row_and_column() {
    let refusal = |table: Table, options: &FeatureOptions| {
        let folder = Folder::new();
        write_table(&folder.storage, &folder.uri("t.parquet"), table).unwrap();
        let scan = FeatureScan::open(&folder.objects("t.parquet"), options).unwrap();
        let error = scan
            .for_each_batch(|_| Ok::<(), HistoryError>(()))
            .unwrap_err();
        message(&error, folder.dir.path())
    };
    let all = FeatureOptions::default();
    let n = 200_000;
    for (bad, shown) in [(f64::NAN, "NaN"), (f64::NEG_INFINITY, "-inf")] {
        let mut values = vec![1.0; n];
        values[150_000] = bad;
        values[170_000] = bad;
        let table = Table::new().number("ok", vec![0.0; n]).number("x", values);
        assert_eq!(
            refusal(table, &all),
            format!("`t.parquet` row 150001: x `{shown}` is not a finite number")
        );
    }
    let mut values = vec![Some(1.0); n];
    values[n - 1] = None;
    let table = Table::new().optional_number("x", values);
    assert_eq!(refusal(table, &all), "`t.parquet` row 200000: x is null");

    // Rows are numbered as in the file, whatever is filtered out.
    let table = Table::new()
        .time("t", vec![1, 2, 3, 4])
        .number("x", vec![1.0, f64::NAN, f64::NAN, 1.0]);
    let late = FeatureOptions {
        time: Some("t".to_owned()),
        from: Some(3),
        ..FeatureOptions::default()
    };
    assert_eq!(
        refusal(table, &late),
        "`t.parquet` row 3: x `NaN` is not a finite number"
    );
    let table = Table::new()
        .number("x", vec![1.0, 1.0])
        .integer("y", vec![1, 2]);
    let labelled = FeatureOptions {
        label: Some("y".to_owned()),
        ..FeatureOptions::default()
    };
    assert_eq!(
        refusal(table, &labelled),
        "`t.parquet` row 2: y `2` is neither 0 nor 1; a label is 0 for a normal row and 1 for an anomaly, or text"
    );

    let folder = Folder::new();
    for (row, reason) in [
        ("1,NaN", "y `NaN` is not a finite number"),
        (",1", "x is null"),
        ("1,a", "y `a` is not a finite number"),
        ("1", "it has 1 fields where the header has 2"),
    ] {
        folder.put("t.csv", format!("x,y\n1,2\n{row}\n"));
        let columns = Some(vec!["x".to_owned(), "y".to_owned()]);
        let options = FeatureOptions {
            columns,
            ..FeatureOptions::default()
        };
        let scan = FeatureScan::open(&folder.objects("t.csv"), &options).unwrap();
        let error = scan
            .for_each_batch(|_| Ok::<(), HistoryError>(()))
            .unwrap_err();
        let text = message(&error, folder.dir.path());
        assert_eq!(text, format!("`t.csv` row 3: {reason}"));
    }
}

#[test]
fn numeric_labels_are_zero_and_one() {
    let folder = Folder::new();
    let table = Table::new()
        .number("x", vec![1.0; 3])
        .number("y", vec![0.0, 1.0, 0.0])
        .flag("z", vec![true, false, true]);
    write_table(&folder.storage, &folder.uri("t.parquet"), table).unwrap();
    folder.put("t.csv", "x,y,z\n1,0,true\n1,1,false\n1,0,true\n");
    for name in ["t.parquet", "t.csv"] {
        for (label, codes) in [("y", [0, 1, 0]), ("z", [1, 0, 1])] {
            let options = FeatureOptions {
                columns: Some(vec!["x".to_owned()]),
                label: Some(label.to_owned()),
                ..FeatureOptions::default()
            };
            let scan = FeatureScan::open(&folder.objects(name), &options).unwrap();
            let rows = joined(&scan_all(&scan));
            assert_eq!(rows.label.unwrap(), codes, "{name} {label}");
            assert_eq!(*rows.label_names, ["", "anomaly"]);
        }
    }
}

#[test]
fn every_pass_gives_the_same_rows_in_order_and_in_bounded_batches() {
    let folder = Folder::new();
    let n = 300_000_u64;
    for part in 0..2 {
        let uri = folder.uri(&format!("part-{part}.parquet"));
        let mut writer = TableWriter::create(&folder.storage, &uri).unwrap();
        for piece in 0..3 {
            let first = (part * 3 + piece) * n / 6;
            let rows = first..first + n / 6;
            writer
                .append(
                    Table::new()
                        .number("x", rows.clone().map(|idx| idx as f64).collect())
                        .integer("y", rows.collect()),
                )
                .unwrap();
        }
        assert_eq!(writer.finish().unwrap(), n / 2);
    }
    let scan = FeatureScan::open(&folder.objects("*.parquet"), &FeatureOptions::default()).unwrap();
    assert_eq!(scan.n_rows().unwrap(), n);
    for _ in 0..2 {
        let mut next = 0;
        let mut largest = 0;
        scan.for_each_batch(|batch| {
            assert_eq!(batch.first_row, next);
            largest = largest.max(batch.n_rows);
            for row in batch.values.chunks_exact(2) {
                assert_eq!(row, [next as f64, next as f64]);
                next += 1;
            }
            Ok::<(), HistoryError>(())
        })
        .unwrap();
        assert_eq!(next, n);
        assert!(largest <= 1 << 17, "a batch of {largest} rows");
    }
}

#[test]
fn the_visitors_error_ends_the_pass() {
    let folder = mixed_folder();
    #[derive(Debug, PartialEq)]
    struct Enough;
    impl From<HistoryError> for Enough {
        fn from(error: HistoryError) -> Self {
            panic!("{error}");
        }
    }
    for name in ["mixed.parquet", "mixed.csv"] {
        let scan = FeatureScan::open(&folder.objects(name), &FeatureOptions::default()).unwrap();
        assert_eq!(scan.for_each_batch(|_| Err(Enough)), Err(Enough));
    }
}

/// Two files of 100,000 rows each, `x` = the row's number among both, in several row groups.
fn numbered_folder() -> Folder {
    let folder = Folder::new();
    for part in 0..2_u32 {
        let rows = || (part * 100_000..(part + 1) * 100_000).map(i64::from);
        let uri = folder.uri(&format!("part-{part}.parquet"));
        let mut writer = TableWriter::create(&folder.storage, &uri).unwrap();
        let mut csv = "when,x\n".to_owned();
        for piece in rows().collect::<Vec<i64>>().chunks(30_000) {
            let times = piece.iter().map(|row| row * 1_000_000).collect();
            let numbers = piece.iter().map(|row| *row as f64).collect();
            let table = Table::new().time("when", times).number("x", numbers);
            writer.append(table).unwrap();
            csv.extend(piece.iter().map(|row| format!("{row},{row}\n")));
        }
        writer.finish().unwrap();
        std::fs::write(folder.path(&format!("part-{part}.csv")), csv).unwrap();
    }
    folder
}

#[test]
fn a_pass_of_some_rows_gives_just_those_without_time() {
    let folder = numbered_folder();
    // All rows, and those of a filter, which the pass counts from 0 again.
    for (pattern, from) in [("*.parquet", 0), ("*.csv", 0), ("*.parquet", 50_000)] {
        let options = FeatureOptions {
            time: Some("when".to_owned()),
            from: (from > 0).then_some(from * 1_000_000),
            ..FeatureOptions::default()
        };
        let scan = FeatureScan::open(&folder.objects(pattern), &options).unwrap();
        let n_rows = scan.n_rows().unwrap();
        assert_eq!(n_rows, 200_000 - from as u64);
        let ranges = [
            0..1,
            5..70_000,
            99_000..100_001,
            100_000..100_010,
            149_990..n_rows + 5,
            n_rows..n_rows + 1,
            7..7,
        ];
        for rows in ranges {
            let mut seen = Vec::new();
            scan.for_each_batch_of_rows(rows.clone(), |batch| {
                assert_eq!(batch.first_row, rows.start + seen.len() as u64, "{rows:?}");
                assert_eq!(batch.values.len(), batch.n_rows);
                assert!(batch.n_rows > 0 && batch.time.is_none());
                seen.extend(batch.values.iter().map(|value| *value as i64 - from));
                Ok::<(), HistoryError>(())
            })
            .unwrap();
            let expected: Vec<i64> = (rows.start as i64..rows.end.min(n_rows) as i64).collect();
            assert!(seen == expected, "{pattern} {rows:?}: {} rows", seen.len());
        }
    }
}

#[test]
fn reads_through_a_path_that_goes_up() {
    let folder = mixed_folder();
    std::fs::create_dir(folder.path("inner")).unwrap();
    let objects = folder.objects("inner/../mixed.parquet");
    let scan = FeatureScan::open(&objects, &options()).unwrap();
    assert_eq!(joined(&scan_all(&scan)).n_rows, 4);
}
