"Install the package; every fact comes from settings.ini, the version too."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

parser = ConfigParser(delimiters=["="])
parser.read("settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]
readme = Path("README.md")
pythons = [f"3.{minor}" for minor in range(int(cfg["min_python"].split(".")[1]), 14)]
statuses = {"3": "3 - Alpha", "4": "4 - Beta", "5": "5 - Production/Stable"}

class WithoutMarks(build_py):
    "Leaves out what only those need who edit the notebooks: nbdev's index, and the mark of the cell that each piece came from."

    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [m for m in found if self.editable_mode or m[1] != "_modidx"]

    def build_module(self, module, module_file, package):
        file, copied = super().build_module(module, module_file, package)
        lines = Path(file).read_text(encoding="utf-8").splitlines(keepends=True)
        Path(file).write_text("".join(l for l in lines if not l.startswith("# %% ")), encoding="utf-8")
        return file, copied

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    # a package index shows README without the repository beside it
    long_description=readme.read_text(encoding="utf-8").replace("](nbs/", f"]({cfg['git_url']}/blob/{cfg['branch']}/nbs/")
    if readme.exists() else "",
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    project_urls={
        "Documentation": cfg["doc_host"] + cfg["doc_baseurl"],
        "Source": cfg["git_url"],
        "Issues": cfg["git_url"] + "/issues",
        "Changelog": f"{cfg['git_url']}/blob/{cfg['branch']}/CHANGELOG.md",
    },
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=cfg["keywords"],
    classifiers=[
        f"Development Status :: {statuses[cfg['status']]}",
        f"Intended Audience :: {cfg['audience']}",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Framework :: Jupyter",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: {p}" for p in pythons),
    ],
    packages=find_packages(include=[cfg["lib_path"], cfg["lib_path"] + ".*"]),
    package_data={cfg["lib_path"]: ["deploy/web/*"]},  # the page to try a student, written by hand
    python_requires=">=" + cfg["min_python"],
    install_requires=cfg["requirements"].split(),
    extras_require={name: cfg[f"{name}_requirements"].split() for name in ("dev", "onnx")},
    entry_points={
        "console_scripts": cfg["console_scripts"].split("\n"),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"],  # nbdev passes over it where it is left out
    },
    cmdclass={"build_py": WithoutMarks},
    zip_safe=False,
)
