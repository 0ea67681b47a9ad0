"""Exclusion: which packages and files may not be trained on, because retrieval benchmarks use them?

`exclude.txt` names well-known projects, and the repositories that bench/retrieval asks about are among them (checked). A package is refused when one of its name's words, or its whole name without
punctuation, is one of them: that catches packages of theirs (`tokio-util`), bindings (`ruby-redis`) and plugins
(`eslint-plugin-x`). A file is refused when a folder above it or its own stem is one (vendored copies). Names that
projects publish under but that do not contain the project's own stand in ALIASES.
"""

import json
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
BENCHMARK = HERE.parent / "bench" / "retrieval" / "queries.jsonl"

# Published names, members of the same repository, and forks.
ALIASES = """
globset ignore grep-matcher grep-searcher grep-regex grep-printer matchit-chi labstack gin-gonic gofiber gorilla spf13
valyala-fasthttp sirupsen uber-go-zap go-redis engine.io socket.io-client charmbracelet-x fmt spdlog-x nlohmann gtest gmock catch benchmark-catch jinja2 log4j
jackson junit gson okhttp3 spring hibernate nodejs undici-fetch vuejs preact-compat reactjs redux-saga sklearn
pydantic-core starlette-core uvicorn-worker laravel illuminate doctrine phpunit-mock guzzlehttp slimphp
activerecord activesupport actionpack railties rspec-core rubocop-ast jekyll-x sinatra-x faraday-x
scalatest-play typelevel-cats akka-http zio-json circe-core http4s-core nioc swiftnio lualine nvim plenary
ecto-sql phoenix-html plug-cowboy absinthe-x tesla-x broadway-x oban-x nerves-x
kotlinx-coroutines ktor-client koin-core newtonsoft xunit nunit serilog-sinks polly-x mediatr-x dapper-x
servant-server yesod-core lens-aeson conduit-extra pandoc-types megaparsec-tests xmonad-contrib shake-x
boto botocore elasticsearch elastic prometheus promhttp grpcio grpc-gateway etcd consul vaultproject hashicorp-terraform
psycopg-x drizzle-orm trpc tRPC chalk-x reduxjs apollo-redux vue-router nuxtjs vitejs rollupjs babel-core
apache-commons-lang commons-lang commons-lang3 lang3 chi cobra viper logrus
""".split()

VENDORED = {"vendor", "vendored", "node_modules", "third_party", "third-party", "thirdparty", "3rdparty", "external",
            "externals", "extern", "deps", "contrib", "_vendor", "bundled", "submodules", "lib-vendor"}


def words(name: str) -> set[str]:
    """The words of a name, and each without `lib` before it and digits after it."""
    found = {word for word in re.split(r"[^a-z0-9]+", name.lower()) if word}
    found |= {word.removeprefix("lib") for word in found if len(word) > 5}
    return found | {word.rstrip("0123456789") for word in found if word.rstrip("0123456789")}


def squeezed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


class Exclusion:
    """The rules read from `exclude.txt`."""

    def __init__(self, path: pathlib.Path = HERE / "exclude.txt"):
        lines = [line.split("#")[0].strip().lower() for line in path.read_text().splitlines()]
        names = [line for line in lines if line] + [alias.lower() for alias in ALIASES]
        asked = {json.loads(line)["repo"] for line in BENCHMARK.read_text().splitlines()}
        if missing := asked - set(names):
            raise SystemExit(f"{path} lacks the benchmark's {', '.join(sorted(missing))}")
        self.single = {name for name in names if squeezed(name) == name}
        self.joined = {squeezed(name) for name in names if squeezed(name) != name}

    def package(self, name: str) -> str | None:
        """The rule that refuses a package, or None."""
        hit = words(name) & self.single
        if hit:
            return sorted(hit)[0]
        whole = squeezed(name)
        return next((rule for rule in sorted(self.joined) if len(rule) >= 5 and rule in whole), None)

    def file(self, path: str) -> str | None:
        """The rule that refuses a file of an allowed package, or None. Only whole components count."""
        parts = path.lower().split("/")
        for part in parts[:-1]:
            if part in VENDORED:
                return part
        stem = parts[-1].split(".")[0]
        for part in [*parts[:-1], stem]:
            # Short everyday words (git, zap, rich) are honest names of modules: only distinctive ones count for files.
            if len(part) >= 6 and (part in self.single or squeezed(part) in self.joined) and part not in EVERYDAY:
                return part
        return None


EVERYDAY = {"docker", "spring", "tracing", "packer", "devise", "exposed", "perfect", "broadway", "phoenix", "consul",
            "composer", "moment", "conduit", "express", "protobuf", "requests", "servant", "openssl", "sqlite",
            "elastic", "catch", "prettier", "ignore"}
