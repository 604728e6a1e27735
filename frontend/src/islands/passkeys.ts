// Passkeys: asks the browser for a credential and posts it as JSON in the form's `credential`.
// Credentials travel as WebAuthn's own JSON (Level 3): bytes are base64url without padding.

type Json = Record<string, any>;

function bytes(text: string): ArrayBuffer {
  const padded = text.replace(/-/g, "+").replace(/_/g, "/");
  return Uint8Array.from(atob(padded), (char) => char.charCodeAt(0)).buffer;
}

function text(buffer: ArrayBuffer): string {
  const chars = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
  return btoa(chars).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

function described(list: Json[] | undefined): PublicKeyCredentialDescriptor[] {
  return (list ?? []).map((one) => ({ ...one, id: bytes(one.id) }) as PublicKeyCredentialDescriptor);
}

async function create(options: Json, passwordless: boolean): Promise<Json> {
  const wanted = options.publicKey;
  const selection = { ...wanted.authenticatorSelection };
  selection.residentKey = passwordless ? "required" : "discouraged";
  selection.requireResidentKey = passwordless;
  if (passwordless) selection.userVerification = "required";
  const made = (await navigator.credentials.create({
    publicKey: {
      ...wanted,
      challenge: bytes(wanted.challenge),
      user: { ...wanted.user, id: bytes(wanted.user.id) },
      excludeCredentials: described(wanted.excludeCredentials),
      authenticatorSelection: selection,
      extensions: { credProps: true },
    },
  })) as PublicKeyCredential;
  const answer = made.response as AuthenticatorAttestationResponse;
  return {
    ...common(made),
    response: {
      clientDataJSON: text(answer.clientDataJSON),
      attestationObject: text(answer.attestationObject),
      transports: answer.getTransports(),
    },
  };
}

async function get(options: Json): Promise<Json> {
  const wanted = options.publicKey;
  const found = (await navigator.credentials.get({
    publicKey: {
      ...wanted,
      challenge: bytes(wanted.challenge),
      allowCredentials: described(wanted.allowCredentials),
      extensions: undefined,
    },
  })) as PublicKeyCredential;
  const answer = found.response as AuthenticatorAssertionResponse;
  return {
    ...common(found),
    response: {
      clientDataJSON: text(answer.clientDataJSON),
      authenticatorData: text(answer.authenticatorData),
      signature: text(answer.signature),
      userHandle: answer.userHandle ? text(answer.userHandle) : null,
    },
  };
}

function common(credential: PublicKeyCredential): Json {
  return {
    type: credential.type,
    id: credential.id,
    rawId: text(credential.rawId),
    authenticatorAttachment: credential.authenticatorAttachment,
    clientExtensionResults: credential.getClientExtensionResults(),
  };
}

async function optionsOf(root: HTMLElement, form: HTMLFormElement): Promise<Json> {
  const here = document.getElementById(root.dataset.options ?? "");
  if (here) return JSON.parse(here.textContent ?? "{}");
  const response = await fetch(form.action, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`${form.action} answered ${response.status}`);
  return response.json();
}

function mount(root: HTMLElement): void {
  const form = root.querySelector("form");
  const button = root.querySelector<HTMLButtonElement>("button[type=button]");
  const field = form?.querySelector<HTMLInputElement>("input[name=credential]");
  const error = root.querySelector<HTMLElement>("[data-passkey-error]");
  if (!form || !button || !field || !("credentials" in navigator)) return;
  root.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    if (error) error.textContent = "";
    try {
      const options = await optionsOf(root, form);
      const passwordless = form.querySelector<HTMLInputElement>("input[name=passwordless]")?.checked ?? false;
      const credential =
        root.dataset.passkey === "create"
          ? await create(options.creation_options, passwordless)
          : await get(options.request_options);
      field.value = JSON.stringify(credential);
      form.submit();
    } catch (caught) {
      // The browser says no more than this on purpose: a page may not learn which keys there are.
      if (error) error.textContent = error.dataset.passkeyError ?? String(caught);
      button.disabled = false;
    }
  });
}

document.querySelectorAll<HTMLElement>("[data-passkey]").forEach(mount);
