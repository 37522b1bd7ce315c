"A Chromium without a window, driven through a pipe by its DevTools protocol: no package is needed."
import json, os, select, shutil, subprocess, tempfile, time
from importlib.util import find_spec

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
EXPORTS = all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))) # a page needs a graph, which the floors cannot write

class Browser:
    "One tab. `asked` has the addresses of all requests."
    def __init__(self, width=1400, height=900):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (mine, theirs), (heard, told) = os.pipe(), os.pipe()  # it reads its file 3 and writes to its file 4
        def wires():
            fds = os.dup(mine), os.dup(told)
            os.dup2(fds[0], 3), os.dup2(fds[1], 4)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                 "--remote-debugging-pipe", "--hide-scrollbars", "--disable-component-update", f"--user-data-dir={self.profile.name}"]
        self.process = subprocess.Popen([CHROMIUM, *flags, "about:blank"], preexec_fn=wires, close_fds=False,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(mine), os.close(told)
        self.out, self.heard, self.rest, self.number, self.asked, self.said, self.session = theirs, heard, b"", 0, [], [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in "Page", "Runtime", "Network": self.call(f"{domain}.enable")
        self.size(width, height)
        self.theme("light")

    def _read(self, limit):
        while b"\0" not in self.rest:
            if not select.select([self.heard], [], [], max(limit - time.time(), 0))[0]: raise TimeoutError("the browser says nothing")
            part = os.read(self.heard, 2**20)
            if not part: raise RuntimeError("the browser ended")
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(message)
        if message.get("method") == "Network.requestWillBeSent": self.asked.append(message["params"]["request"]["url"])
        if message.get("method") == "Runtime.exceptionThrown": self.said.append(message["params"]["exceptionDetails"])
        return message

    def call(self, method, seconds=60, **params):
        self.number += 1
        data = json.dumps(dict(id=self.number, method=method, params=params) | ({"sessionId": self.session} if self.session else {})).encode() + b"\0"
        while data: data = data[os.write(self.out, data):]
        limit = time.time() + seconds
        while (message := self._read(limit)).get("id") != self.number: pass
        if "error" in message: raise RuntimeError(message["error"])
        return message["result"]

    def size(self, width, height=900):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def theme(self, name): self.call("Emulation.setEmulatedMedia", features=[dict(name="prefers-color-scheme", value=name)])

    def run(self, code):
        found = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found: raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def open(self, address): self.call("Page.navigate", url=str(address))

    def wait(self, code, seconds=60):
        limit = time.time() + seconds
        while not (found := self.run(f"(() => {{ try {{ return {code} }} catch {{ return null }} }})()")):
            if time.time() > limit: raise TimeoutError(f"{code}: {self.run('document.body.innerText')[:500]} {self.said}")
            time.sleep(.05)
        return found

    def type(self, text): self.call("Input.insertText", text=text)

    def key(self, name, code=0):
        for kind in "rawKeyDown", "keyUp": self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def picture(self, file):
        from base64 import b64decode
        file.write_bytes(b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")["data"]))

    def close(self):
        try: self.call("Browser.close", seconds=10)
        except (OSError, RuntimeError, TimeoutError): pass
        try: self.process.wait(10)
        except subprocess.TimeoutExpired: self.process.kill(), self.process.wait()
        os.close(self.out), os.close(self.heard)
        self.profile.cleanup()

    def __enter__(self): return self
    def __exit__(self, *_): self.close()
