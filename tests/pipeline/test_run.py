from conftest import train_quietly


def test_x(make_recipe, tmp_path):
    out = train_quietly(make_recipe(), tmp_path / "o")
    print(out.judgement.as_dict()["accuracy"], out.fitted, list((tmp_path/"o").rglob("*")))
    print((tmp_path/"o"/"report"/"log.jsonl").read_text())
